-- Makes the breaker what somebody says, whatever it was.
-- KEYS[1]: the breaker
-- ARGV[1]: the state: 0 closed, 3 forced open, 4 disabled, 5 metrics only
-- ARGV[2]: a generation drawn by chance
-- ARGV[3]: the channel
-- ARGV[4]: how long all of it is kept without a word, in ms
-- ARGV[5]: the time in µs, given in tests only, else empty
-- Returns: {state, generation, 0, 0}
-- Idempotent: no
local key = KEYS[1]
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(ARGV[5]) or time[1] * 1000000 + time[2])
redis.call('HSET', key, 'state', ARGV[1], 'generation', ARGV[2], 'since', now, 'until', '0', 'permits', '', 'successes', '0')
redis.call('PUBLISH', ARGV[3], ARGV[1])
redis.call('PEXPIRE', key, ARGV[4])
return {tonumber(ARGV[1]), ARGV[2], 0, 0}
