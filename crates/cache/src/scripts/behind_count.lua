#!lua flags=no-writes
-- Counts what a lane holds, and has done.
-- KEYS[1]: what is pending, by entity, and the lane's counts
-- KEYS[2]: the entities that wait to be committed, by when the first write came
-- KEYS[3]: those that are tried again, by when
-- KEYS[4]: those that nobody tries any more, by since when
-- KEYS[5]: those that are tried again, by when the first write came
-- ARGV[1]: the time in µs, given in tests only, else empty
-- Returns: {1, waiting, tried again, dead, µs since the first write of those that wait or are tried again, committed, retries}
-- Idempotent: yes
local pending, fresh, retry, dead, since = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = tonumber(ARGV[1]) or time[1] * 1000000 + time[2]
local first = now
for _, set in ipairs({fresh, since}) do
  first = math.min(first, redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2] or now)
end
local committed, retries = unpack(redis.call('HMGET', pending, 'committed', 'retries'))
return {
  1, redis.call('ZCARD', fresh), redis.call('ZCARD', retry), redis.call('ZCARD', dead),
  now - first, tonumber(committed or 0), tonumber(retries or 0),
}
