#!lua flags=no-writes
-- Counts what a lane holds, and has done.
-- KEYS[1]: what is pending, by entity, and the lane's counts
-- KEYS[2]: the entities that wait to be committed, by when the first write came
-- KEYS[3]: those that are tried again, by when
-- KEYS[4]: those that nobody tries any more, by since when
-- Returns: {1, waiting, tried again, dead, µs that the first of those that wait does, committed, retries}
-- Idempotent: yes
local pending, fresh, retry, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local first = redis.call('ZRANGE', fresh, 0, 0, 'WITHSCORES')[2] or now
local committed, retries = unpack(redis.call('HMGET', pending, 'committed', 'retries'))
return {
  1, redis.call('ZCARD', fresh), redis.call('ZCARD', retry), redis.call('ZCARD', dead),
  math.max(now - first, 0), tonumber(committed or 0), tonumber(retries or 0),
}
