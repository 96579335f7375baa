-- A hand-off: joins the pending job, else makes a task that was pushed beforehand, and parked, the pending job.
-- KEYS: record, task payloads, scheduled tasks (by whole second)
-- ARGV: wanted attempt[, task, outage, due_at_ms]
-- Returns: as current.lua; nothing if no job is pending and no task was given, or it is parked no more
local task = redis.call('HGET', KEYS[1], 'task')
if task and redis.call('HEXISTS', KEYS[2], task) == 1 then
  -- The worker may be about to end this very job. It will see that it was asked again.
  redis.call('HINCRBY', KEYS[1], 'hand_offs', 1)
  redis.call('HSET', KEYS[1], 'wanted_attempt', ARGV[1])
elseif ARGV[2] and redis.call('ZSCORE', KEYS[3], ARGV[2]) then
  -- Named and set off in one step: a worker that met it unnamed would throw it away.
  redis.call('ZADD', KEYS[3], math.floor(tonumber(ARGV[4]) / 1000), ARGV[2])
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'task', ARGV[2], 'outage', ARGV[3], 'attempt', ARGV[1], 'due_at_ms', ARGV[4],
    'hand_offs', 0, 'wanted_attempt', ARGV[1], 'forwards', 0)
else
  return false
end
return redis.call('HMGET', KEYS[1], 'task', 'outage', 'attempt', 'due_at_ms', 'hand_offs', 'wanted_attempt', 'forwards')
