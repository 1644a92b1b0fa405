-- A sign of life, and the election: whoever comes first while nobody leads, leads until it is silent for too long.
-- KEYS: meta, leader, state of the log, seen of the node
-- ARGV: node, lease in ms, whether it stands for election, whether it may begin a log where there is none
-- Answers: who leads, the epoch, the epoch of which somebody found that it lost entries, the newest entry of the log and its
-- word, the last group of the node in the inbox.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'suspect')
local leader = redis.call('GET', KEYS[2])
if leader == ARGV[1] then
  if ARGV[3] == '1' then
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
  else
    redis.call('DEL', KEYS[2])
    leader = false
  end
elseif not leader and ARGV[3] == '1' and (meta[1] or ARGV[4] == '1') then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'term', 1)
  leader = ARGV[1]
end
local state = redis.call('HMGET', KEYS[3], 'seq', 'word')
return {leader or '', meta[1] or '', meta[2] or '', state[1] or '', state[2] or '', redis.call('GET', KEYS[4]) or ''}
