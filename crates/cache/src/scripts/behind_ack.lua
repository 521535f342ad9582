-- Removes what the lane's owner has committed. What was written meanwhile stays.
-- KEYS[1]: what is pending, by entity, and the lane's fence
-- KEYS[2]: the entities that wait to be committed, by when the first write came
-- KEYS[3]: those that are tried again, by when
-- KEYS[4]: those that nobody tries any more, by since when
-- KEYS[5]: those that are tried again, by when the first write came
-- ARGV[1]: the owner's fencing number
-- ARGV[2]: the time in µs, given in tests only, else empty
-- ARGV[3..]: entities and their versions, in turn
-- Returns: {0}: a later owner has come, and nothing was removed; {1, removed}
-- Idempotent: yes
local pending, fresh, retry, dead, since = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
if redis.call('HGET', pending, 'fence') ~= ARGV[1] then return {0} end
local time = redis.call('TIME')
local now = tonumber(ARGV[2]) or time[1] * 1000000 + time[2]
local removed = 0
for i = 3, #ARGV, 2 do
  local entity = ARGV[i]
  local packed = not redis.call('ZSCORE', dead, entity) and redis.call('HGET', pending, entity)
  local state = packed and cmsgpack.unpack(packed)
  if state and state.version == tonumber(ARGV[i + 1]) then
    redis.call('HDEL', pending, entity)
    redis.call('ZREM', fresh, entity)
    redis.call('ZREM', retry, entity)
    redis.call('ZREM', since, entity)
    removed = removed + 1
  elseif state then
    -- It has a whole time to wait for more.
    state.tries, state.reason = 0, ''
    redis.call('HSET', pending, entity, cmsgpack.pack(state))
    redis.call('ZREM', retry, entity)
    redis.call('ZREM', since, entity)
    redis.call('ZADD', fresh, string.format('%.0f', now), entity)
  end
end
redis.call('HINCRBY', pending, 'committed', removed)
return {1, removed}
