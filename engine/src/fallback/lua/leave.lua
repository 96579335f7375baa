-- A worker that has ended for certain: its name goes, and the task it held is for anybody now, not in seconds.
-- KEYS: workers, its in-flight tasks, active, its metadata
-- ARGV: worker name
-- Returns: how many tasks it held
redis.call('ZREM', KEYS[1], ARGV[1])
local tasks = redis.call('SMEMBERS', KEYS[2])
if #tasks > 0 then
  redis.call('RPUSH', KEYS[3], unpack(tasks))
end
redis.call('DEL', KEYS[2], KEYS[4])
return #tasks
