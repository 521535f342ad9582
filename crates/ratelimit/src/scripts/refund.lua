-- Gives back what a reservation has spent, as far as that can't let more pass than the limits say.
-- A bucket gives back no more than is still ahead of its time, and nothing once another refund has touched it; a queue only
-- what is last in it, since a turn behind it stays where it is.
-- KEYS[n]: the state of each level
-- ARGV[1]: the time, given in tests only; else empty
-- ARGV[2..]: of each level its kind, and what belongs to it:
--   g, ticks, the theoretical arrival time that it made, refunds before it; q, the same of a queue
--   w, units, end of the window; c, units, start of the window, its ticks; s, units, number of the part, its ticks
--   z, units, how many were spent, id; n: nothing
-- Returns: {1, given back...}: of each level, in units; in ticks, what it had regained by itself included, of a bucket
-- Idempotent: no
local call, pack, read = redis.call, struct.pack, struct.unpack
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
local reply, at = {1}, 2
for i = 1, #KEYS do
  local kind, key, units, back = ARGV[at], KEYS[i], tonumber(ARGV[at + 1]), 0
  local state = kind ~= 'z' and kind ~= 'n' and call('GET', key)
  if kind == 'g' or kind == 'q' then
    local refunds = state and (#state > 8 and read('<d', state, 9) or 0)
    local behind = state and kind == 'q' and read('<d', state) ~= tonumber(ARGV[at + 2])
    if not state or (refunds == tonumber(ARGV[at + 3]) and not behind) then
      back = units
      local ahead = state and math.min(units, ARGV[at + 2] - now) or 0
      local arrival = ahead > 0 and read('<d', state) - ahead
      if ahead > 0 and arrival <= now then
        call('DEL', key)
      elseif ahead > 0 then
        call('SET', key, pack('<dd', arrival, refunds + 1), 'KEEPTTL')
      end
    end
    at = at + 4
  elseif kind == 'w' then
    if state then
      local spent, stop = read('<dd', state)
      if stop == tonumber(ARGV[at + 2]) then
        back = math.min(units, spent)
        call('SET', key, pack('<dd', spent - back, stop), 'KEEPTTL')
      end
    end
    at = at + 3
  elseif kind == 'c' then
    if state then
      local start, ticks, spent, last = read('<dddd', state)
      if ticks == tonumber(ARGV[at + 3]) then
        if start == tonumber(ARGV[at + 2]) then
          back = math.min(units, spent)
          spent = spent - back
        elseif start - ticks == tonumber(ARGV[at + 2]) then
          back = math.min(units, last)
          last = last - back
        end
        if back > 0 then call('SET', key, pack('<dddd', start, ticks, spent, last), 'KEEPTTL') end
      end
    end
    at = at + 4
  elseif kind == 's' then
    if state then
      local newest, ticks = read('<dd', state)
      local place = 17 + 4 * (newest - ARGV[at + 2])
      if ticks == tonumber(ARGV[at + 3]) and place >= 17 and place <= #state - 3 then
        local spent = read('<I4', state, place)
        back = math.min(units, spent)
        if back > 0 then call('SETRANGE', key, place - 1, pack('<I4', spent - back)) end
      end
    end
    at = at + 4
  elseif kind == 'z' then
    local spent = tonumber(ARGV[at + 2])
    for n = spent - units + 1, spent do
      back = back + call('ZREM', key, ARGV[at + 3] .. ':' .. n)
    end
    at = at + 4
  else
    at = at + 1
  end
  reply[i + 1] = back
end
return reply
