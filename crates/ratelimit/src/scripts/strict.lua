-- Decides on one window of parts that is never above its limit: `look.lua` and `take.lua` for this alone, at less of their
-- cost. Times are ticks of 125 ns since 2024.
-- KEYS[1]: the window
-- ARGV[1]: the cost
-- ARGV[2]: the limit
-- ARGV[3]: the ticks of a part
-- ARGV[4]: parts
-- ARGV[5]: how long it is kept, in ms
-- ARGV[6]: the time, given in tests only
-- Returns: 1, now, spent, wait, reset: the cost is spent; 0, now, spent, wait, reset: it is not. What was spent before this,
--   ticks to wait, ticks until nothing is spent. As doubles, packed
-- Idempotent: no
local call, pack, read = redis.call, struct.pack, struct.unpack
local now, ticks, count = tonumber(ARGV[6]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not now then
  now = call('TIME')
  now = (now[1] - 1704067200) * 8000000 + now[2] * 8
end
local index = math.floor(now / ticks)
local state = call('GET', KEYS[1])
-- The newest first; the oldest is partly out of the window, and counts whole.
local part, spent, newest, mended = nil, 0, nil, false
if state then
  local long, had = nil, (#state - 16) / 4
  newest, long = read('<dd', state)
  part = {read('<' .. string.rep('I4', had), state, 17)}
  local shift = index - newest
  if long ~= ticks or had ~= count + 1 or shift < 0 then
    -- Of other parts, or of a later time: all of it counts as of now.
    if (newest + had) * long > now then
      for i = 1, had do spent = spent + part[i] end
      mended = true
    end
    part, newest = nil, nil
  else
    for i = 1, had - shift do spent = spent + part[i] end
  end
end
if not part then
  part = {spent}
  for i = 2, count + 1 do part[i] = 0 end
elseif newest < index then
  local shift = math.min(index - newest, count + 1)
  for i = count + 1, shift + 1, -1 do part[i] = part[i - shift] end
  for i = 1, shift do part[i] = 0 end
end

local over, wait, reset = spent + ARGV[1] - ARGV[2], 0, 0
for i = 1, count + 1 do
  if part[i] > 0 then
    reset = (index + count + 2 - i) * ticks - now
    break
  end
end
if over > 0 then
  local from, gone = count + 1, 0
  while from > 1 and gone + part[from] < over do
    gone, from = gone + part[from], from - 1
  end
  wait = (index + count + 2 - from) * ticks - now
  if not mended then return pack('<ddddd', 0, now, spent, wait, reset) end
else
  part[1] = part[1] + ARGV[1]
end
if newest == index then
  state = string.sub(state, 1, 16) .. pack('<I4', part[1]) .. string.sub(state, 21)
else
  state = pack('<dd' .. string.rep('I4', count + 1), index, ticks, unpack(part))
end
call('PSETEX', KEYS[1], ARGV[5], state)
return pack('<ddddd', over > 0 and 0 or 1, now, spent, wait, reset)
