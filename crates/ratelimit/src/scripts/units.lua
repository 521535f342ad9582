-- Decides on what ends one by one, a log or permits: `look.lua` and `take.lua` for this alone, at less of their cost. Times
-- are ticks of 125 ns since 2024.
-- KEYS[1]: the units, by their ends
-- ARGV[1]: the cost
-- ARGV[2]: the limit
-- ARGV[3]: the ticks after which a unit ends
-- ARGV[4]: the id of the units
-- ARGV[5]: how long it is kept, in ms
-- ARGV[6]: the time, given in tests only
-- Returns: 1, now, spent, 0, 0: the cost is spent; 0, now, spent, wait, reset: it is not. What was spent before this, ticks to
--   wait, ticks until nothing is spent. As doubles, packed
-- Idempotent: no
local call, pack, key = redis.call, struct.pack, KEYS[1]
local now = tonumber(ARGV[6])
if not now then
  now = call('TIME')
  now = (now[1] - 1704067200) * 8000000 + now[2] * 8
end
local last = now + ARGV[3]
-- How many there are costs less to ask than how many have not ended, which matters only where they are too many.
local count, ended = call('ZCARD', key), 0
local over = count + ARGV[1] - ARGV[2]
if over > 0 then
  ended = call('ZCOUNT', key, '-inf', now)
  over = over - ended
end
if over > 0 then
  local place = ended + over - 1
  local first = call('ZRANGE', key, place, place, 'WITHSCORES')
  local final = call('ZRANGE', key, '-1', '-1', 'WITHSCORES')
  if tonumber(final[2]) > last then
    -- Further ahead than any could be: of a clock that was set back, or of a quota that was longer.
    call('ZREMRANGEBYSCORE', key, '-inf', now)
    for _, ahead in ipairs(call('ZRANGE', key, last + 1, '+inf', 'BYSCORE')) do
      call('ZADD', key, 'XX', last, ahead)
    end
    call('PEXPIRE', key, ARGV[5])
  end
  return pack('<ddddd', 0, now, count - ended, math.min(first[2], last) - now, math.min(final[2], last) - now)
end
if count > 0 then ended = call('ZREMRANGEBYSCORE', key, '-inf', now) end
if ARGV[1] == '1' then
  call('ZADD', key, last, ARGV[4] .. ':1')
else
  -- In parts: Lua gives no function more than 8,000 values.
  local score = string.format('%.0f', last)
  for from = 1, ARGV[1], 1000 do
    local units = {}
    for n = from, math.min(from + 999, ARGV[1]) do
      units[#units + 1] = score
      units[#units + 1] = ARGV[4] .. ':' .. n
    end
    call('ZADD', key, unpack(units))
  end
end
call('PEXPIRE', key, ARGV[5])
return pack('<ddddd', 1, now, count - ended, 0, 0)
