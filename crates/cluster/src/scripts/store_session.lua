-- Stores a copy of a session, unless another holder has claimed the session, or it has ended.
-- KEYS: session
-- ARGV: owner, generation, change, content, lifetime in milliseconds
-- Returns 1, or 0 if the generation is not the newest one. A copy that is older than the stored one changes nothing.
local known = redis.call('HMGET', KEYS[1], 'generation', 'owner', 'of', 'change')
local generation, change = tonumber(ARGV[2]), tonumber(ARGV[3])
if known[1] then
  if tonumber(known[1]) > generation or known[2] ~= ARGV[1] then return 0 end
  if known[3] and tonumber(known[3]) == generation and tonumber(known[4]) > change then return 1 end
end
redis.call('HSET', KEYS[1], 'generation', ARGV[2], 'owner', ARGV[1], 'of', ARGV[2], 'change', ARGV[3], 'content', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
