-- Heartbeat and election: the first candidate that sends one while no node leads is the leader until its lease expires.
-- Writes first, so that a full or read-only Redis, or one that cannot save, refuses. The refusal is part of the reply and not
-- raised: the rest of the reply is valid nevertheless.
-- KEYS: meta, leader, state of the log, seen of the node, beat of the node
-- ARGV: node, lease in ms, whether it is a candidate, whether it may bootstrap a log if there is no valid one;
--       newest entry that it has read: epoch, number, ID; the epochs of earlier logs, separated by spaces
-- Returns the leader, the epoch, the epoch of a log that lost entries, the number of the newest entry of the log,
-- the last group of the node in the inbox, the time in microseconds, the reason for which a write was refused.
local refused = ''
local function write(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    refused = answer.err
    return false
  end
  return true
end
write('SET', KEYS[5], '1', 'PX', '60000')
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local state = redis.call('HMGET', KEYS[3], 'seq', 'word')
local seq, word = tonumber(state[1] or '0'), state[2] or ''
local leader = redis.call('GET', KEYS[2])
local lost = epoch and epoch == ARGV[5] and (tonumber(ARGV[6]) > seq or (tonumber(ARGV[6]) == seq and ARGV[7] ~= word))
-- The log is an earlier one than that which the node reads: Redis was restored from an older state.
lost = lost or (epoch and string.find(' ' .. ARGV[8] .. ' ', ' ' .. epoch .. ' ', 1, true))
if lost then
  -- The node has read entries that do not exist any more.
  write('HSET', KEYS[1], 'suspect', epoch)
end
local suspect = redis.call('HGET', KEYS[1], 'suspect')
-- A leader that has read more than the log contains has the newest values, and bootstraps the next log itself.
local may_lead = ARGV[3] == '1' and ((epoch and epoch ~= suspect) or ARGV[4] == '1' or (lost and leader == ARGV[1]))
if leader == ARGV[1] then
  if may_lead then
    write('PEXPIRE', KEYS[2], ARGV[2])
  elseif write('DEL', KEYS[2]) then
    leader = false
  end
elseif not leader and may_lead and refused == '' and write('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) then
  write('HINCRBY', KEYS[1], 'term', 1)
  leader = ARGV[1]
end
local time = redis.call('TIME')
return {leader or '', epoch or '', suspect or '', state[1] or '0', redis.call('GET', KEYS[4]) or '',
  time[1] .. string.format('%06d', time[2]), refused}
