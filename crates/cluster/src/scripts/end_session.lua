-- Ends a session, unless another holder has claimed it. The rest, without an owner, refuses copies that are still on their way.
-- KEYS: session
-- ARGV: generation, lifetime of the rest in milliseconds
-- Returns 1, or 0 if the generation is not the newest one.
local known = redis.call('HGET', KEYS[1], 'generation')
if known and tonumber(known) > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'owner', '')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
