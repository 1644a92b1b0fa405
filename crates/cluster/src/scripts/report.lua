-- Stores a node report of one tenant, and the users who have come and left since the last one.
-- KEYS: reports, users, users of the node
-- ARGV: node, report, whether the users who joined replace all stored ones, number of users who joined, USER..., users who left...
-- Returns the number of stored users of the node, so that it can send all of them if some were lost.
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], (now[1] * 1000 + math.floor(now[2] / 1000)) .. ' ' .. ARGV[2])
local function leaves(user)
  if redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then redis.call('HDEL', KEYS[2], user) end
end
if ARGV[3] == '1' then
  for _, user in ipairs(redis.call('SMEMBERS', KEYS[3])) do leaves(user) end
  redis.call('DEL', KEYS[3])
end
local joined = tonumber(ARGV[4])
for i = 5, #ARGV do
  if i < 5 + joined then
    if redis.call('SADD', KEYS[3], ARGV[i]) == 1 then redis.call('HINCRBY', KEYS[2], ARGV[i], 1) end
  elseif redis.call('SREM', KEYS[3], ARGV[i]) == 1 then
    leaves(ARGV[i])
  end
end
return redis.call('SCARD', KEYS[3])
