-- Begins a tenure: from now on only its appends are accepted. Makes what is missing of the topic.
-- KEYS: the topic, its position. ARGV: the tenure, an id and a number of partitions in case that the topic has none.
-- Returns the topic's id and partitions, the appends so far, and the position up to which the streams have every event, or nil,
-- and positions before it with the ids of their events, or nil.
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[3])
redis.call('HSETNX', KEYS[1], 'id', ARGV[2])
local topic = redis.call('HMGET', KEYS[1], 'id', 'partitions')
if redis.call('HGET', KEYS[2], 'topic_id') ~= topic[1] then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'topic_id', topic[1])
end
redis.call('HSET', KEYS[2], 'tenure', ARGV[1], 'confirmed_at', redis.call('TIME')[1])
local position = redis.call('HMGET', KEYS[2], 'appended', 'published_seq', 'checkpoints')
return { topic[1], topic[2], position[1] or '0', position[2], position[3] }
