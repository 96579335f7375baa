-- Removes consumers that have nothing pending; with pending entries a consumer stays, since they would go with it. One script, so
-- that none of them gets an entry in between. One that is removed and alive is made anew by its next read.
-- KEYS[1] the stream; ARGV[1] the group; ARGV[2] our consumer; ARGV[3] 'own': that one, or 'others': those that were idle for ARGV[4]
-- milliseconds. Returns their names.
local removed = {}
for _, item in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for place = 1, #item, 2 do consumer[item[place]] = item[place + 1] end
  local own = consumer['name'] == ARGV[2]
  local meant = own
  if ARGV[3] == 'others' then meant = not own and consumer['idle'] >= tonumber(ARGV[4]) end
  if meant and consumer['pending'] == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer['name'])
    table.insert(removed, consumer['name'])
  end
end
return removed
