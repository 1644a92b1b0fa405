-- What a tenant's log holds besides its events, of one moment.
-- KEYS: tenants, states, times      ARGV: tenant
return {redis.call('HGET', KEYS[1], ARGV[1]) or '', redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
