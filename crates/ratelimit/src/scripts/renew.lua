-- Holds permits for longer, if all of them are still held.
-- KEYS[1]: the permits
-- ARGV[1]: their id
-- ARGV[2]: how many
-- ARGV[3]: for how long from now, in ticks of 125 ns
-- ARGV[4]: how long the key is kept, in ms
-- ARGV[5]: the time in ticks since 2024, given in tests only
-- Returns: {1}: they are; {0}: they had ended, and nothing was written
-- Idempotent: yes
local key, id, count = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
for n = 1, count do
  local stop = redis.call('ZSCORE', key, id .. ':' .. n)
  if not stop or tonumber(stop) <= now then return {0} end
end
for n = 1, count do redis.call('ZADD', key, 'XX', now + ARGV[3], id .. ':' .. n) end
redis.call('PEXPIRE', key, ARGV[4])
return {1}
