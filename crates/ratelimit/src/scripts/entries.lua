#!lua flags=no-writes
-- Lists what has not ended yet, the first to end first.
-- KEYS[1]: a log, or permits
-- ARGV[1]: the most to list
-- ARGV[2]: the time in ticks of 125 ns since 2024, given in tests only
-- Returns: {1, now, how many there are, {{id, its end}, ...}}
-- Idempotent: yes
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
local found = redis.call('ZRANGE', KEYS[1], now + 1, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1], 'WITHSCORES')
local list = {}
for i = 1, #found, 2 do list[#list + 1] = {found[i], tonumber(found[i + 1])} end
return {1, now, redis.call('ZCOUNT', KEYS[1], now + 1, '+inf'), list}
