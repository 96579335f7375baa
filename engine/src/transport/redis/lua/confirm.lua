-- Writes down that the streams have every event up to a position, if the tenure is the present one and the streams have lost nothing.
-- A position may be lower than the last one: the journal was set back.
-- KEYS: the topic, its position. ARGV: the topic's id, the tenure, the appends that it knows of, the position, the id of the event there or ''.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return redis.error_reply('ANEW the topic is not the one that it was')
end
local position = redis.call('HMGET', KEYS[2], 'tenure', 'appended', 'checkpoints')
if position[1] ~= ARGV[2] then
  return redis.error_reply('SUPERSEDED another publisher has taken the streams over')
end
if tonumber(position[2] or '0') < tonumber(ARGV[3]) then
  return redis.error_reply('BEHIND the streams have lost their end')
end
redis.call('HSET', KEYS[2], 'confirmed_at', redis.call('TIME')[1], 'published_seq', ARGV[4])
if ARGV[5] == '' then
  return 1
end
-- Newest first, each at least twice as far from the newest as the one before it; and the oldest.
local newest, last = tonumber(ARGV[4]), 0
local kept, oldest = { ARGV[4] .. ':' .. ARGV[5] }, nil
for seq, id in string.gmatch(position[3] or '', '(%d+):(%S+)') do
  local distance = newest - tonumber(seq)
  if distance > 0 then
    oldest = seq .. ':' .. id
    if distance >= 2 * last then
      kept[#kept + 1] = oldest
      last = distance
      oldest = nil
    end
  end
end
kept[#kept + 1] = oldest
redis.call('HSET', KEYS[2], 'checkpoints', table.concat(kept, ' '))
return 1
