-- Forgets a write that nobody tries any more, for ever.
-- KEYS[1]: what is pending, by entity
-- KEYS[2]: the entities that nobody tries any more, by since when
-- ARGV[1]: the entity
-- ARGV[2]: the version that is to be forgotten
-- Returns: {1}: it is; {0}: it is not dead, or was written since
-- Idempotent: yes
local pending, dead = KEYS[1], KEYS[2]
if not redis.call('ZSCORE', dead, ARGV[1]) then return {0} end
local state = cmsgpack.unpack(redis.call('HGET', pending, ARGV[1]))
if state.version ~= tonumber(ARGV[2]) then return {0} end
redis.call('HDEL', pending, ARGV[1])
redis.call('ZREM', dead, ARGV[1])
return {1}
