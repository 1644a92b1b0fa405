-- What a node measured for one tenant, and which users came to it and left it.
-- KEYS: reports, users, users of the node      ARGV: node, report, number of users who came, USER..., those who left...
-- Answers how many users the node has, so that it can say all of them where something was lost.
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], (now[1] * 1000 + math.floor(now[2] / 1000)) .. ' ' .. ARGV[2])
local came = tonumber(ARGV[3])
for i = 4, #ARGV do
  if i < 4 + came then
    if redis.call('SADD', KEYS[3], ARGV[i]) == 1 then redis.call('HINCRBY', KEYS[2], ARGV[i], 1) end
  elseif redis.call('SREM', KEYS[3], ARGV[i]) == 1 and redis.call('HINCRBY', KEYS[2], ARGV[i], -1) <= 0 then
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
return redis.call('SCARD', KEYS[3])
