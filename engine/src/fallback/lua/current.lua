-- Reads the record of the pending job. A record whose task has lost its payload can never run: it counts as none.
-- KEYS: record, task payloads
-- Returns: task, outage, attempt, due_at_ms, hand_offs, wanted_attempt, forwards; or nothing
local task = redis.call('HGET', KEYS[1], 'task')
if not task or redis.call('HEXISTS', KEYS[2], task) == 0 then
  return false
end
return redis.call('HMGET', KEYS[1], 'task', 'outage', 'attempt', 'due_at_ms', 'hand_offs', 'wanted_attempt', 'forwards')
