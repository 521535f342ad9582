#!lua flags=no-writes
-- Reads when tags were last invalid.
-- KEYS[1]: the journal
-- KEYS[2]: the tags
-- ARGV[1..]: tags
-- Returns: {0, incarnation, forgotten, {version or 0, ...}}; {1}: there is no journal
-- Idempotent: yes
local incarnation, forgotten = unpack(redis.call('HMGET', KEYS[1], 'incarnation', 'forgotten'))
if not incarnation then return {1} end
local versions = redis.call('ZMSCORE', KEYS[2], unpack(ARGV))
for i = 1, #ARGV do versions[i] = tonumber(versions[i] or 0) end
return {0, incarnation, tonumber(forgotten or 0), versions}
