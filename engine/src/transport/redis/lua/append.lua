-- Appends one event, if the streams are still what the publisher knows of them.
-- KEYS: the topic, its position, the partition's stream. ARGV: the topic's id; the tenure, or '' for a copy, which any client may append;
-- the appends that the tenure knows of; then the entry's fields and values.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return redis.error_reply('ANEW the topic is not the one that it was')
end
if ARGV[2] ~= '' then
  local position = redis.call('HMGET', KEYS[2], 'tenure', 'appended')
  if position[1] ~= ARGV[2] then
    return redis.error_reply('SUPERSEDED another publisher has taken the streams over')
  end
  if tonumber(position[2] or '0') < tonumber(ARGV[3]) then
    return redis.error_reply('BEHIND the streams have lost their end')
  end
end
local entry = redis.call('XADD', KEYS[3], '*', unpack(ARGV, 4))
-- Copies are not counted: they would hide that as many appends are gone.
return { entry, ARGV[2] == '' and 0 or redis.call('HINCRBY', KEYS[2], 'appended', 1) }
