-- Has what nobody tried any more tried again, with all that was written since.
-- KEYS[1]: what is pending, by entity
-- KEYS[2]: the entities that are tried again, by when
-- KEYS[3]: those that nobody tries any more, by since when
-- KEYS[4]: those that are tried again, by when the first write came; of one that was dead, since now
-- ARGV[1]: the time in µs, given in tests only, else empty
-- ARGV[2]: the channel of the lane's owner
-- ARGV[3]: what is said there
-- ARGV[4..]: entities
-- Returns: {1, how many of them were dead}
-- Idempotent: yes
local pending, retry, dead, since = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = tonumber(ARGV[1]) or time[1] * 1000000 + time[2]
local revived = 0
for i = 4, #ARGV do
  local entity = ARGV[i]
  if redis.call('ZSCORE', dead, entity) then
    local state = cmsgpack.unpack(redis.call('HGET', pending, entity))
    state.tries = 0
    redis.call('HSET', pending, entity, cmsgpack.pack(state))
    redis.call('ZREM', dead, entity)
    redis.call('ZADD', retry, string.format('%.0f', now), entity)
    redis.call('ZADD', since, string.format('%.0f', now), entity)
    revived = revived + 1
  end
end
if revived > 0 then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return {1, revived}
