-- Returns the recent node reports of one tenant, and the number of users online. A silent node is dropped, with its users,
-- some at a time.
-- KEYS: reports, users      ARGV: ms after which a node is silent, prefix of the keys of a node's users
-- Returns the number of users, then NODE REPORT...
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[1])
local reports = redis.call('HGETALL', KEYS[1])
local found = {0}
for i = 1, #reports, 2 do
  local at, report = string.match(reports[i + 1], '^(%d+) (.*)$')
  if tonumber(at) >= oldest then
    found[#found + 1] = reports[i]
    found[#found + 1] = report
  else
    local users = ARGV[2] .. reports[i]
    for _, user in ipairs(redis.call('SPOP', users, 2000)) do
      if redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then redis.call('HDEL', KEYS[2], user) end
    end
    if redis.call('SCARD', users) == 0 then redis.call('HDEL', KEYS[1], reports[i]) end
  end
end
found[1] = redis.call('HLEN', KEYS[2])
return found
