-- Appends a group of batches to the inbox, in order and once, even if the request is repeated.
-- KEYS: meta, inbox, seen of the node
-- ARGV: epoch, number of the group, node, payload, most groups in the inbox, the last group that Redis has accepted, as far as the node knows
local number = tonumber(ARGV[2])
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 'epoch' end
local seen = tonumber(redis.call('GET', KEYS[3]) or '0')
if number <= seen then return 'done' end
-- A replica that took over lacks some groups.
if seen < tonumber(ARGV[6]) then return 'lost' end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[5]) then return 'full' end
redis.call('XADD', KEYS[2], '*', 'n', ARGV[3], 's', ARGV[2], 'p', ARGV[4])
redis.call('SET', KEYS[3], ARGV[2], 'EX', 86400)
return 'done'
