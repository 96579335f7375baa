-- Makes groups at the beginning of streams that were made anew. A group that is there already stays as it is.
-- KEYS: the topic, its streams, that of partition 0 first. ARGV: the topic's id, and each group as `partition:group`.
-- Returns 0 if the topic is another one by now.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return 0
end
for place = 2, #ARGV do
  local partition, group = string.match(ARGV[place], '^(%d+):(.*)$')
  local stream = partition and KEYS[tonumber(partition) + 2]
  if stream then
    redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
  end
end
redis.call('HSET', KEYS[1], 'groups', 'yes')
return 1
