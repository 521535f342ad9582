-- Decides on one bucket by its theoretical arrival time (GCRA): `look.lua` and `take.lua` for this alone, as nearly every
-- decision is, at half of their cost. Times are ticks of 125 ns since 2024.
-- KEYS[1]: the bucket
-- ARGV[1]: the cost
-- ARGV[2]: the most ticks that may be spent
-- ARGV[3]: how long it is kept, in ms
-- ARGV[4]: the time, given in tests only
-- Returns: admitted: ticks until it is full; denied: less than 0, ticks to wait
-- Idempotent: no
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
local state = redis.call('GET', KEYS[1])
local ahead = state and struct.unpack('<d', state) - now or 0
if ahead < 0 then ahead = 0 end
local over = ahead + ARGV[1] - ARGV[2]
if over > 0 then
  -- Further ahead than it could be: the clock was set back.
  if ahead <= ARGV[3] * 8000 then return -over end
  ahead = ARGV[3] * 4000
  redis.call('SET', KEYS[1], struct.pack('<d', now + ahead) .. string.sub(state, 9), 'PX', ARGV[3])
  return ARGV[2] - ARGV[1] - ahead
end
ahead = ahead + ARGV[1]
local after = struct.pack('<d', now + ahead)
if state and #state > 8 then after = after .. string.sub(state, 9) end
redis.call('SET', KEYS[1], after, 'PX', ARGV[3])
return ahead
