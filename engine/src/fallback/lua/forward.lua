-- Makes the pending job due now. The count tells a run in progress that the broker was seen meanwhile.
-- KEYS: record, task payloads, scheduled tasks (by whole second)
-- ARGV: now in ms
-- Returns: 1 if a job is pending, else 0
local task = redis.call('HGET', KEYS[1], 'task')
if not task or redis.call('HEXISTS', KEYS[2], task) == 0 then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'forwards', 1)
if tonumber(redis.call('HGET', KEYS[1], 'due_at_ms')) > tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'due_at_ms', ARGV[1])
  -- XX: a task that a worker already holds must not be queued a second time.
  redis.call('ZADD', KEYS[3], 'XX', math.floor(tonumber(ARGV[1]) / 1000), task)
end
return 1
