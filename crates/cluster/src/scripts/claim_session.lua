-- Begins the next generation of a session. The stored copy stays until the new holder has stored its own.
-- KEYS: session
-- ARGV: owner, generation that the node has (0 for none), lifetime in milliseconds
-- Returns the new generation, then generation, change and content of the newest copy (0, 0 and nothing without a copy); nil if
-- the session is unknown, has ended, or is of another owner.
local known = redis.call('HMGET', KEYS[1], 'generation', 'owner', 'of', 'change', 'content')
local generation = tonumber(ARGV[2])
if known[1] then
  if known[2] ~= ARGV[1] then return false end
  generation = math.max(generation, tonumber(known[1]))
elseif generation == 0 then
  return false
end
generation = generation + 1
redis.call('HSET', KEYS[1], 'generation', generation, 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if not known[5] then return {generation, 0, 0, ''} end
return {generation, tonumber(known[3]), tonumber(known[4]), known[5]}
