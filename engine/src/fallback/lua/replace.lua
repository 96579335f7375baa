-- Compare and set: the next task, pushed beforehand and parked, takes the record, or nobody does, if the record is as it was read.
-- KEYS: record, scheduled tasks (by whole second)
-- ARGV: task, hand_offs, forwards as read[, next task, outage, attempt, due_at_ms]
-- Returns: 1 if done, 0 if the record has changed or the next task is parked no more
local now = redis.call('HMGET', KEYS[1], 'task', 'hand_offs', 'forwards')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] or now[3] ~= ARGV[3] then
  return 0
end
if ARGV[4] then
  if not redis.call('ZSCORE', KEYS[2], ARGV[4]) then
    return 0
  end
  -- Named and set off in one step: a worker that met it unnamed would throw it away.
  redis.call('ZADD', KEYS[2], math.floor(tonumber(ARGV[7]) / 1000), ARGV[4])
end
redis.call('DEL', KEYS[1])
if ARGV[4] then
  redis.call('HSET', KEYS[1], 'task', ARGV[4], 'outage', ARGV[5], 'attempt', ARGV[6], 'due_at_ms', ARGV[7],
    'hand_offs', 0, 'wanted_attempt', ARGV[6], 'forwards', 0)
end
return 1
