-- Makes a lease last longer, never shorter, if nobody else has had it since.
-- KEYS[1]: the lease, a hash
-- ARGV[1]: the owner's token
-- ARGV[2]: the fencing number that the owner was given
-- ARGV[3]: how long the lease lasts from now, in microseconds
-- ARGV[4]: how long the key is kept after the lease's end, in milliseconds
-- ARGV[5]: the time in microseconds, given in tests only
-- Returns: {status, fence, microseconds left}; status 1: it is still the owner's; 0: it is not, and the fencing number
--   that was given last, 0 if none is known
-- Idempotent: yes
local now
if ARGV[5] then
  now = tonumber(ARGV[5])
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local kept = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until')
local fence, ends = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
-- What was given back stays so. What has merely ended, and nobody took, may go on.
if kept[1] ~= ARGV[1] or fence ~= tonumber(ARGV[2]) or ends == 0 then return {0, fence, 0} end
ends = math.max(ends, now + ARGV[3])
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', ends))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((ends - now) / 1000) + ARGV[4]))
return {1, fence, ends - now}
