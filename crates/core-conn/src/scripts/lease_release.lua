-- Gives a lease back, if nobody else has had it since, and tells those who wait for it.
-- KEYS[1]: the lease, a hash; its name is also the channel of those who wait
-- ARGV[1]: the owner's token
-- Returns: 1: given back, now or before; 0: somebody else has had it since, or nothing is known of it
-- Idempotent: no (asked again when another has taken the lease, it can't tell who gave it back before)
local kept = redis.call('HMGET', KEYS[1], 'owner', 'until')
if kept[1] ~= ARGV[1] then return 0 end
-- Also where it was given back before: who waits for the replicas behind this waits for that, too.
redis.call('HSET', KEYS[1], 'until', '0')
-- Who may not publish gives back all the same; those who wait then find out by asking.
if kept[2] ~= '0' then redis.pcall('SPUBLISH', KEYS[1], '') end
return 1
