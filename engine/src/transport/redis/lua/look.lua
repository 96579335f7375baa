-- What the topic is, and how far its streams are. Makes the topic if it is missing. Returns its id, its partitions, the position up to
-- which the streams have every event (-1: none is known), and for how many seconds no tenure has confirmed it,
-- and that position with its event's id, or ''.
-- KEYS: the topic, its position. ARGV: an id and a number of partitions in case that the topic has none.
local topic = redis.call('HMGET', KEYS[1], 'id', 'partitions')
if not topic[1] or not topic[2] then
  redis.call('HSETNX', KEYS[1], 'partitions', ARGV[2])
  redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
  topic = redis.call('HMGET', KEYS[1], 'id', 'partitions')
end
local position = redis.call('HMGET', KEYS[2], 'topic_id', 'published_seq', 'confirmed_at', 'checkpoints')
local known = position[1] == topic[1]
local confirmed_at = tonumber(known and position[3] or '0')
local newest = known and position[4] and string.match(position[4], '^%S+') or ''
return { topic[1], topic[2], known and position[2] or '-1', tonumber(redis.call('TIME')[1]) - confirmed_at, newest }
