-- Appends an entry to the log and stores the newest values, for nodes that start later. Takes effect as a whole or not at all.
-- KEYS: meta, leader, log, state, tenants, inbox, decided; then of each tenant: states, events, series, times
-- ARGV: node, epoch, number of the newest entry as the writer knows it, its ID, the new entry (may be empty), its ID, the inbox's
--       last group that it decides, the group up to which series are stored (may be empty), the oldest entry to keep and the size of all kept entries;
--       number of nodes, NODE GROUP... with the last group of each that it decides; then of each tenant: name, head, number of states, CHANNEL VALUE..., number of events, OFFSET VALUE..., the
--       oldest event to keep, number of series, NAME VALUE..., number of times, CHANNEL VALUE...; an empty VALUE removes
--       what it is of
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'leader' end
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[2] and redis.call('HGET', KEYS[1], 'next') ~= ARGV[2] then return 'epoch' end
local seq = tonumber(redis.call('HGET', KEYS[4], 'seq') or '0')
if seq ~= tonumber(ARGV[3]) or (redis.call('HGET', KEYS[4], 'word') or '') ~= ARGV[4] then return 'moved' end
if ARGV[5] ~= '' then
  seq = seq + 1
  redis.call('XADD', KEYS[3], 'MINID', '~', ARGV[9] .. '-0', seq .. '-0', 'e', ARGV[5])
  redis.call('HSET', KEYS[4], 'seq', seq, 'word', ARGV[6], 'oldest', ARGV[9], 'bytes', ARGV[10])
end
redis.call('HSET', KEYS[4], 'inbox', ARGV[7])
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[4], 'dumped', ARGV[8], 'dumped_seq', seq)
  redis.call('XTRIM', KEYS[6], 'MINID', ARGV[8])
end
local key, at = 8, 11
local function pairs_of(call)
  local count = tonumber(ARGV[at])
  for i = at + 1, at + 2 * count, 2 do call(ARGV[i], ARGV[i + 1]) end
  at = at + 2 * count + 1
end
pairs_of(function(node, group) redis.call('HSET', KEYS[7], node, group) end)
local function set_or_remove(hash, name, value)
  if value == '' then redis.call('HDEL', hash, name) else redis.call('HSET', hash, name, value) end
end
while KEYS[key] do
  redis.call('HSET', KEYS[5], ARGV[at], ARGV[at + 1])
  at = at + 2
  pairs_of(function(channel, value) set_or_remove(KEYS[key], channel, value) end)
  pairs_of(function(offset, value) redis.call('XADD', KEYS[key + 1], offset .. '-0', 'e', value) end)
  if ARGV[at] ~= '' then redis.call('XTRIM', KEYS[key + 1], 'MINID', ARGV[at] .. '-0') end
  at = at + 1
  pairs_of(function(name, value) set_or_remove(KEYS[key + 2], name, value) end)
  pairs_of(function(channel, value) set_or_remove(KEYS[key + 3], channel, value) end)
  key = key + 4
end
return 'done'
