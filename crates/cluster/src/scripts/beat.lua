-- A sign of life, and the election: the first node that asks while nobody leads, leads until it is silent for too long.
-- It writes first, so that a Redis that is full, read-only or can't save says so. What it refuses is told, not raised: the
-- rest of the answer is true all the same.
-- KEYS: meta, leader, state of the log, seen of the node, beat of the node
-- ARGV: node, lease in ms, whether it stands for election, whether it may begin a log where there is none or a bad one;
--       what it has read of the log: epoch, newest entry, its word; the epochs of the logs before it, with blanks between
-- Answers: who leads, the epoch, the epoch of which it is known that it lost entries, the newest entry of the log,
-- the last group of the node in the inbox, the time in microseconds, why a write was refused.
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
-- A log that the one which the node reads has replaced: Redis was restored from before.
lost = lost or (epoch and string.find(' ' .. ARGV[8] .. ' ', ' ' .. epoch .. ' ', 1, true))
if lost then
  -- The node has read what is not there any more.
  write('HSET', KEYS[1], 'suspect', epoch)
end
local suspect = redis.call('HGET', KEYS[1], 'suspect')
-- A leader that read more than there is has the newest values, and begins the next log itself.
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
