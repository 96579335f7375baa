-- Drops the entries of a stream that every group has acknowledged. Returns how many were dropped.
-- KEYS: the stream. ARGV: the id before which a stream without groups is trimmed, or '' for none.
-- Whole nodes of the stream are dropped (`~`), so fewer than stream-node-max-entries of these entries stay; at most a hundred nodes a call.
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then
  return 0
end

local function before(one, other)
  local one_ms, one_n = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_n = string.match(other, '^(%d+)-(%d+)$')
  one_ms, other_ms = tonumber(one_ms), tonumber(other_ms)
  return one_ms < other_ms or (one_ms == other_ms and tonumber(one_n) < tonumber(other_n))
end

local least
for _, fields in ipairs(groups) do
  local group = {}
  for place = 1, #fields, 2 do
    group[fields[place]] = fields[place + 1]
  end
  local pending = redis.call('XPENDING', KEYS[1], group['name'])
  local needed = pending[1] > 0 and pending[2] or group['last-delivered-id']
  if not least or before(needed, least) then
    least = needed
  end
end
least = least or ARGV[1]
if least == '' then
  return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', least)
