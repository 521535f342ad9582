-- Removes a key whose time is over.
-- KEYS[1]: the key
-- ARGV[1]: the time in microseconds
-- Returns: whether it was removed
-- Idempotent: yes
local ends = redis.call('PEXPIRETIME', KEYS[1])
if ends >= 0 and math.floor(ARGV[1] / 1000) > ends then return redis.call('UNLINK', KEYS[1]) end
return 0
