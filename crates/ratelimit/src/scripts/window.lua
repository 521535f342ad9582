-- Decides on one window, or one bucket that is refilled by intervals: `look.lua` and `take.lua` for this alone, at half of
-- their cost. Times are ticks of 125 ns since 2024.
-- KEYS[1]: the window
-- ARGV[1]: the cost
-- ARGV[2]: the limit
-- ARGV[3]: its length
-- ARGV[4]: what is given back after each
-- ARGV[5]: 1 if it is aligned
-- ARGV[6]: how long it is kept, in ms
-- ARGV[7]: the time, given in tests only
-- Returns: 1, now, spent, end: the cost is spent; 0, now, spent, end: it is not. What was spent before this, and the end
--   of the window. As doubles, packed: one value costs less than a table of them
-- Idempotent: no
local call = redis.call
local now, ticks = tonumber(ARGV[7]), tonumber(ARGV[3])
if not now then
  now = call('TIME')
  now = (now[1] - 1704067200) * 8000000 + now[2] * 8
end
local state = call('GET', KEYS[1])
local spent, stop, mended = 0, 0, false
if state then
  spent, stop = struct.unpack('<dd', state)
  if stop <= now then
    local over = 1 + math.floor((now - stop) / ticks)
    spent, stop = math.max(spent - over * ARGV[4], 0), stop + over * ticks
  elseif stop - now > ticks then
    -- Of a clock that was set back, or of a quota that was longer.
    stop, mended = now + ticks, true
  end
end
if spent == 0 then stop = now + ticks - (ARGV[5] == '1' and now % ticks or 0) end
local cost, fits = ARGV[1], 1
if spent + cost - ARGV[2] > 0 then
  cost, fits = 0, 0
end
if fits == 1 or mended then call('PSETEX', KEYS[1], ARGV[6], struct.pack('<dd', spent + cost, stop)) end
return struct.pack('<dddd', fits, now, spent, stop)
