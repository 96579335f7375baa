-- Writes down that the streams have every event up to a position, if the tenure is the present one and the streams have lost nothing.
-- KEYS: the topic, its position. ARGV: the topic's id, the tenure, the appends that it knows of, the position.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return redis.error_reply('ANEW the topic is not the one that it was')
end
local position = redis.call('HMGET', KEYS[2], 'tenure', 'appended', 'published_seq')
if position[1] ~= ARGV[2] then
  return redis.error_reply('SUPERSEDED another publisher has taken the streams over')
end
if tonumber(position[2] or '0') < tonumber(ARGV[3]) then
  return redis.error_reply('BEHIND the streams have lost their end')
end
redis.call('HSET', KEYS[2], 'confirmed_at', redis.call('TIME')[1])
if tonumber(position[3] or '-1') < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], 'published_seq', ARGV[4])
end
return 1
