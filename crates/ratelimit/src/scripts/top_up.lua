-- Gives a bucket more than it has: so much, or all of it. What it has gained by itself is kept, and it never holds more than
-- it can. What was reserved before can't be given back to it any more.
-- KEYS[1]: the state
-- ARGV[1]: g: a bucket by its theoretical arrival time; w: a window, or a bucket that is refilled by intervals
-- ARGV[2]: how much, in ticks or units
-- ARGV[3]: how long it is kept, in ms
-- ARGV[4]: w: the ticks of a window; else empty
-- ARGV[5]: w: what is given back after each; else empty
-- ARGV[6]: the time in ticks of 125 ns since 2024, given in tests only
-- Returns: {1, given}
-- Idempotent: no
local key, much, kept = KEYS[1], tonumber(ARGV[2]), ARGV[3]
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
local state = redis.call('GET', key)
if not state then return {1, 0} end
local given
if ARGV[1] == 'g' then
  local arrival, refunds = struct.unpack('<d', state), #state > 8 and struct.unpack('<d', state, 9) or 0
  given = math.max(math.min(much, arrival - now), 0)
  redis.call('SET', key, struct.pack('<dd', arrival - given, refunds + 1), 'PX', kept)
else
  local spent, stop = struct.unpack('<dd', state)
  if stop <= now then
    local over = 1 + math.floor((now - stop) / ARGV[4])
    spent, stop = math.max(spent - over * ARGV[5], 0), stop + over * ARGV[4]
  end
  given = math.min(much, spent)
  redis.call('SET', key, struct.pack('<dd', spent - given, stop), 'PX', kept)
end
return {1, given}
