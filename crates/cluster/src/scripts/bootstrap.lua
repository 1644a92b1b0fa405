-- Bootstraps a log: it is prepared as the next one, then becomes the current one, and the previous one is marked for removal.
-- KEYS: meta, leader
-- ARGV: node, the current epoch as the writer knows it, the new one, its base, whether it is prepared, all known
--       earlier epochs, oldest first
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
