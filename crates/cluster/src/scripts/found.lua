-- Begins a log: first it is prepared, unseen, then it is the one that counts, and the one before it is to be removed.
-- KEYS: meta, leader
-- ARGV: node, the epoch that counts as the writer knows it, the new one, where its offsets begin, whether it is prepared, all
--       epochs before the new one as far as they are known, oldest first
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'leader' end
if (redis.call('HGET', KEYS[1], 'epoch') or '') ~= ARGV[2] then return 'epoch' end
if ARGV[5] == '1' then
  if redis.call('HGET', KEYS[1], 'next') ~= ARGV[3] then return 'epoch' end
  redis.call('HDEL', KEYS[1], 'next')
  redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'base', ARGV[4], 'before', ARGV[2], 'earlier', ARGV[6])
else
  redis.call('HSET', KEYS[1], 'next', ARGV[3])
end
return 'done'
