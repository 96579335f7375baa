-- Sets a group's count of read entries, if the group is still where it was seen. So an entry that was removed unread is reported by
-- one process, once.
-- KEYS[1] the stream; ARGV[1] the group; ARGV[2] last id delivered; ARGV[3] the count seen, or -1; ARGV[4] the count to set.
-- Returns 1 if it was set.
for _, item in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for place = 1, #item, 2 do group[item[place]] = item[place + 1] end
  local is_seen = group['last-delivered-id'] == ARGV[2] and tostring(group['entries-read'] or -1) == ARGV[3]
  if group['name'] == ARGV[1] and is_seen then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2], 'ENTRIESREAD', ARGV[4])
    return 1
  end
end
return 0
