-- Notes that entities could not be committed: they are tried again, or nobody does any more.
-- KEYS[1]: what is pending, by entity, and the lane's fence
-- KEYS[2]: the entities that wait to be committed, by when the first write came
-- KEYS[3]: those that are tried again, by when
-- KEYS[4]: those that nobody tries any more, by since when
-- KEYS[5]: those that are tried again, by when the first write came
-- ARGV[1]: the owner's fencing number
-- ARGV[2]: the time in µs, given in tests only, else empty
-- ARGV[3..]: of each: the entity, the version that failed, how often by now, µs until the next time or -1 for none, why
-- Returns: {0}: a later owner has come; {1, how many of them are dead now}
-- Idempotent: yes
local pending, fresh, retry, dead, since = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
if redis.call('HGET', pending, 'fence') ~= ARGV[1] then return {0} end
local time = redis.call('TIME')
local now = tonumber(ARGV[2]) or time[1] * 1000000 + time[2]
local died, again = 0, 0
for i = 3, #ARGV, 5 do
  local entity, version, tries, delay = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local packed = not redis.call('ZSCORE', dead, entity) and redis.call('HGET', pending, entity)
  local state = packed and cmsgpack.unpack(packed)
  if state then
    -- What was written since is not to blame.
    if state.version ~= version then tries, delay = 0, math.max(delay, 0) end
    state.tries, state.reason = tries, ARGV[i + 4]
    redis.call('HSET', pending, entity, cmsgpack.pack(state))
    local first = redis.call('ZSCORE', fresh, entity)
    redis.call('ZREM', fresh, entity)
    if delay < 0 then
      redis.call('ZREM', retry, entity)
      redis.call('ZREM', since, entity)
      redis.call('ZADD', dead, string.format('%.0f', now), entity)
      died = died + 1
    else
      redis.call('ZADD', retry, string.format('%.0f', now + delay), entity)
      if first then redis.call('ZADD', since, first, entity) end
      again = again + 1
    end
  end
end
redis.call('HINCRBY', pending, 'retries', again)
return {1, died}
