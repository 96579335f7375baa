-- The state of a stream and of one of its groups, at one moment.
-- KEYS[1] the stream; ARGV[1] the group.
-- Returns nothing if there is no stream; else entries ever added, entries there, last id, first id or '', and, if there is the group:
-- last id delivered, entries read or -1, lag or -1, entries pending.
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local function map(list)
  local found = {}
  for place = 1, #list, 2 do found[list[place]] = list[place + 1] end
  return found
end
local stream = map(redis.call('XINFO', 'STREAM', KEYS[1]))
local first = stream['first-entry'] and stream['first-entry'][1] or ''
local state = {tostring(stream['entries-added']), tostring(stream['length']), stream['last-generated-id'], first}
for _, item in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = map(item)
  if group['name'] == ARGV[1] then
    table.insert(state, group['last-delivered-id'])
    table.insert(state, tostring(group['entries-read'] or -1))
    table.insert(state, tostring(group['lag'] or -1))
    table.insert(state, tostring(group['pending']))
  end
end
return state
