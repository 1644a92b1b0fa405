-- A sign of life, and the election: whoever comes first while nobody leads, leads until it is silent for too long.
-- KEYS: meta, leader, nodes, state of the log      ARGV: node, lease in ms, whether it stands for election
-- Answers: who leads, the epoch, the newest entry of the log, the epoch of which somebody found that it lost entries.
local now = redis.call('TIME')
redis.call('HSET', KEYS[3], ARGV[1], now[1] * 1000 + math.floor(now[2] / 1000))
local leader = redis.call('GET', KEYS[2])
if leader == ARGV[1] then
  if ARGV[3] == '1' then
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
  else
    redis.call('DEL', KEYS[2])
    leader = false
  end
elseif not leader and ARGV[3] == '1' then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'term', 1)
  leader = ARGV[1]
end
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'suspect')
return {leader or '', meta[1] or '', redis.call('HGET', KEYS[4], 'seq') or '', meta[2] or ''}
