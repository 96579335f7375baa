-- Deletes what apalis keeps for ever: the payload, metadata and result of every completed task. Also takes out of the
-- queue every task whose payload or metadata is gone (an eviction, a hand): fetching one kills the worker, time and again.
-- KEYS: record, task payloads, done, dead, active, scheduled, workers
-- ARGV: prefix of metadata keys, prefix of in-flight keys, most tasks to look at in each place
-- Returns: how many payloads remain besides the pending job's
local last = tonumber(ARGV[3]) - 1

for _, key in ipairs({KEYS[3], KEYS[4]}) do
  for _, task in ipairs(redis.call('SPOP', key, ARGV[3])) do
    redis.call('HDEL', KEYS[2], task)
    redis.call('DEL', ARGV[1] .. ':' .. task)
  end
end

local function unusable(task)
  return redis.call('HEXISTS', KEYS[2], task) == 0 or redis.call('HEXISTS', ARGV[1] .. ':' .. task, 'status') == 0
end

for _, task in ipairs(redis.call('LRANGE', KEYS[5], 0, last)) do
  if unusable(task) then redis.call('LREM', KEYS[5], 0, task) end
end
for _, task in ipairs(redis.call('ZRANGE', KEYS[6], 0, last)) do
  if unusable(task) then redis.call('ZREM', KEYS[6], task) end
end
for _, worker in ipairs(redis.call('ZRANGE', KEYS[7], 0, last)) do
  local inflight = ARGV[2] .. ':' .. worker
  for _, task in ipairs(redis.call('SMEMBERS', inflight)) do
    if unusable(task) then redis.call('SREM', inflight, task) end
  end
end

local task = redis.call('HGET', KEYS[1], 'task')
local pending = task and redis.call('HEXISTS', KEYS[2], task) or 0
return redis.call('HLEN', KEYS[2]) - pending
