-- Looks at each level of a decision: what is spent there, and whether the cost fits. All of a peek; `take.lua` goes on.
-- Times are ticks of 125 ns since 2024. A state that is further ahead than any
-- could be is of a clock that was set back, and one of another length of a quota that was changed: both are brought up to now.
-- KEYS[n]: the state of each level
-- ARGV[1]: the time, given in tests only; else empty
-- ARGV[2]: all: the whole cost or nothing is spent; most: what of it fits; force: all of it, fit or not; peek: nothing
-- ARGV[3]: how many levels count; those behind them are in the shadow, and stop nobody
-- ARGV[4..]: of each level its kind, and what belongs to it; ms is how long its key is kept:
--   g, cost, most ticks, ticks each, ms: a bucket, by its theoretical arrival time (GCRA)
--   w, cost, limit, ticks, given back after each, 1 if aligned, ms: a window, or a bucket that is refilled by intervals
--   h, ticks, use, limit: the window of a higher class; above that use the next window has this limit
--   c, cost, limit, ticks, ms: a sliding window by two counters
--   s, cost, limit, ticks of a part, parts, ms: a sliding window of parts, never above the limit
--   z, cost, limit, ticks, id, ms: what ends one by one, a log or permits
--   b: the end of a block
-- Returns: 1, now, facts...: it fits; 0, now, facts...: it does not. As doubles, packed. The facts of each level:
--   g: ticks until it is full, refunds; w: spent, end of the window; h: spent; c: spent in this window, in the last one;
--   s and z: spent, ticks to wait, ticks until nothing is spent; b: ticks to wait
-- Idempotent: no
local call, pack, read = redis.call, struct.pack, struct.unpack
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
local mode, counted = ARGV[2], tonumber(ARGV[3])
local reply, fact, at = {1, now, 0, 0, 0, 0, 0, 0}, 3, 4
local least, pressed, short = 4294967296, math.huge, false
local rooms, parts, sets, mended = {0, 0, 0}, nil, nil, nil

for i = 1, #KEYS do
  local kind, room = ARGV[at], nil
  local cost = ARGV[at + 1]
  if kind == 'g' then
    local state = call('GET', KEYS[i])
    local ahead, refunds = 0, 0
    if state then
      ahead = read('<d', state) - now
      if ahead < 0 then ahead = 0 end
      if #state > 8 then refunds = read('<d', state, 9) end
    end
    room = (ARGV[at + 2] - ahead) / ARGV[at + 3]
    if room < 0 and ahead > ARGV[at + 4] * 8000 then
      ahead = ARGV[at + 4] * 4000
      mended = mended or {}
      mended[i] = true
    end
    reply[fact], reply[fact + 1] = ahead, refunds
    fact, at = fact + 2, at + 5
  elseif kind == 'w' then
    local state = call('GET', KEYS[i])
    local limit, ticks = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local spent, stop = 0, 0
    if state then
      spent, stop = read('<dd', state)
      if stop <= now then
        local over = 1 + math.floor((now - stop) / ticks)
        spent, stop = math.max(spent - over * ARGV[at + 4], 0), stop + over * ticks
      elseif stop - now > ticks then
        stop = now + ticks
        mended = mended or {}
        mended[i] = true
      end
    end
    if spent == 0 then stop = now + ticks - (ARGV[at + 5] == '1' and now % ticks or 0) end
    room = math.min(limit, pressed) - spent
    pressed = math.huge
    reply[fact], reply[fact + 1] = spent, stop
    fact, at = fact + 2, at + 7
  elseif kind == 'h' then
    local state = call('GET', KEYS[i])
    local spent, stop = 0, 0
    if state then spent, stop = read('<dd', state) end
    if stop <= now then spent = 0 end
    if spent > tonumber(ARGV[at + 2]) then pressed = math.min(pressed, ARGV[at + 3]) end
    reply[fact] = spent
    fact, at, cost, room = fact + 1, at + 4, 0, math.huge
  elseif kind == 'c' then
    local state = call('GET', KEYS[i])
    local ticks = tonumber(ARGV[at + 3])
    local start = now - now % ticks
    local spent, last = 0, 0
    if state then
      local of, long
      of, long, spent, last = read('<dddd', state)
      if long ~= ticks or of > start then
        -- Of another length, or of a later time: all of it counts as of now.
        if of + 2 * long > now then spent, last = spent + last, 0 else spent, last = 0, 0 end
        mended = mended or {}
        mended[i] = true
      elseif of + ticks == start then spent, last = 0, spent
      elseif of < start then spent, last = 0, 0 end
    end
    local grain = math.ceil(ticks / 1000000)
    local grains = math.ceil(ticks / grain)
    local gone = math.floor((now - start) / grain)
    room = ARGV[at + 2] - spent - math.ceil(last * (grains - gone) / grains)
    reply[fact], reply[fact + 1] = spent, last
    fact, at = fact + 2, at + 5
  elseif kind == 's' then
    local state = call('GET', KEYS[i])
    local ticks, count = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    local index = math.floor(now / ticks)
    -- The newest first; the oldest is partly out of the window, and counts whole.
    local part, spent = {}, 0
    for j = 1, count + 1 do part[j] = 0 end
    if state then
      local newest, long = read('<dd', state)
      local had = (#state - 16) / 4
      local old = {read('<' .. string.rep('I4', had), state, 17)}
      local shift = index - newest
      if long == ticks and had == count + 1 and shift >= 0 then
        for j = 1, had - shift do
          part[j + shift] = old[j]
          spent = spent + old[j]
        end
      elseif (newest + had) * long > now then
        -- Of other parts, or of a later time: all of it counts as of now.
        for j = 1, had do spent = spent + old[j] end
        part[1] = spent
        mended = mended or {}
        mended[i] = true
      end
    end
    room = ARGV[at + 2] - spent
    local wait, reset, need = 0, 0, (mode == 'most' and 1 or cost) - room
    local from, gone = count + 1, 0
    if need > 0 then
      while from > 1 and gone + part[from] < need do
        gone, from = gone + part[from], from - 1
      end
      wait = (index + count + 2 - from) * ticks - now
    end
    for j = 1, count + 1 do
      if part[j] > 0 then
        reset = (index + count + 2 - j) * ticks - now
        break
      end
    end
    parts = parts or {}
    parts[i] = part
    reply[fact], reply[fact + 1], reply[fact + 2] = spent, wait, reset
    fact, at = fact + 3, at + 6
  elseif kind == 'z' then
    reply[fact], reply[fact + 1], reply[fact + 2] = 0, 0, 0
    reply[fact] = call('ZCOUNT', KEYS[i], now + 1, '+inf')
    room = ARGV[at + 2] - reply[fact]
    sets = sets or {}
    sets[#sets + 1] = {i, at, fact}
    fact, at = fact + 3, at + 6
  else
    local state = call('GET', KEYS[i])
    local left = state and read('<d', state) - now or 0
    cost, room = 0, math.huge
    if left > 0 then room = -1 end
    reply[fact] = math.max(left, 0)
    fact, at = fact + 1, at + 1
  end
  rooms[i] = room
  if room - cost < 0 then
    short = true
    if i <= counted then reply[1] = 0 end
  end
  if i <= counted and room < least then least = room end
end

-- When what ends one by one does is asked for only where somebody has to wait, or wants to know.
if sets and mode ~= 'force' and (short or mode == 'peek') then
  for _, set in ipairs(sets) do
    local key, from, last = KEYS[set[1]], set[2], now + ARGV[set[2] + 3]
    local place = (mode == 'most' and 1 or ARGV[from + 1]) - rooms[set[1]] - 1
    if place >= 0 then
      local first = call('ZRANGE', key, now + 1, '+inf', 'BYSCORE', 'LIMIT', place, 1, 'WITHSCORES')
      reply[set[3] + 1] = math.min(first[2], last) - now
    end
    if reply[set[3]] > 0 then
      local final = call('ZRANGE', key, '+inf', now + 1, 'BYSCORE', 'REV', 'LIMIT', 0, 1, 'WITHSCORES')
      reply[set[3] + 2] = math.min(final[2], last) - now
      if tonumber(final[2]) > last then
        mended = mended or {}
        mended[set[1]] = true
      end
    end
  end
end

local function packed()
  return pack('<' .. string.rep('d', fact - 1), unpack(reply, 1, fact - 1))
end
