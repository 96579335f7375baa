-- Who reads the topic. KEYS: the topic, its streams, that of partition 0 first.
-- Returns the topic's id or '', whether the groups of a former topic were made again (0 or 1), and each group as `partition:group`.
local topic = redis.call('HMGET', KEYS[1], 'id', 'groups')
local found = {}
for place = 2, #KEYS do
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[place])
  -- No stream, no groups.
  for _, fields in ipairs(groups.err and {} or groups) do
    for at = 1, #fields, 2 do
      if fields[at] == 'name' then
        found[#found + 1] = (place - 2) .. ':' .. fields[at + 1]
      end
    end
  end
end
return { topic[1] or '', topic[2] and 1 or 0, found }
