-- Spends what `look.lua` before it has found to fit, on each level; where it does not, nothing is written, but for states
-- that were brought up to now.
-- KEYS[n]: the state of each level
-- ARGV[n]: as there
-- Returns: as there; with `most`, how much fits in the place of 1
-- Idempotent: no
local fits = reply[1] == 1
local granted = math.huge
if mode == 'most' then
  granted = math.max(math.floor(least), 0)
  fits, reply[1] = granted > 0, granted
elseif mode == 'force' then
  fits, reply[1] = true, 1
end
if not fits and not mended then return packed() end

fact, at = 3, 4
for i = 1, #KEYS do
  local kind, key, room = ARGV[at], KEYS[i], rooms[i]
  local spend = 0
  if fits and kind ~= 'h' and kind ~= 'b' then
    spend = tonumber(ARGV[at + 1])
    if mode == 'most' then spend = math.min(spend, granted)
    elseif mode == 'force' then
      -- Into debt, by one limit at most.
      local limit = kind == 'g' and ARGV[at + 2] / ARGV[at + 3] or ARGV[at + 2]
      spend = math.max(math.min(spend, math.floor(room + limit)), 0)
    end
    -- In the shadow.
    if i > counted and spend > room then spend = 0 end
  end
  local write = spend > 0 or (mended and mended[i])
  if kind == 'g' then
    if write then
      local state = pack('<d', now + reply[fact] + spend * ARGV[at + 3])
      if reply[fact + 1] > 0 then state = state .. pack('<d', reply[fact + 1]) end
      call('SET', key, state, 'PX', ARGV[at + 4])
    end
    fact, at = fact + 2, at + 5
  elseif kind == 'w' then
    if write then
      call('SET', key, pack('<dd', reply[fact] + spend, reply[fact + 1]), 'PX', ARGV[at + 6])
    end
    fact, at = fact + 2, at + 7
  elseif kind == 'h' then
    fact, at = fact + 1, at + 4
  elseif kind == 'c' then
    if write then
      local ticks = tonumber(ARGV[at + 3])
      local state = pack('<dddd', now - now % ticks, ticks, reply[fact] + spend, reply[fact + 1])
      call('SET', key, state, 'PX', ARGV[at + 4])
    end
    fact, at = fact + 2, at + 5
  elseif kind == 's' then
    if write then
      local ticks, part = tonumber(ARGV[at + 3]), parts[i]
      part[1] = part[1] + spend
      local state = pack('<dd' .. string.rep('I4', #part), math.floor(now / ticks), ticks, unpack(part))
      call('SET', key, state, 'PX', ARGV[at + 5])
    end
    fact, at = fact + 3, at + 6
  elseif kind == 'z' then
    if write then
      local last, id = now + ARGV[at + 3], ARGV[at + 4]
      call('ZREMRANGEBYSCORE', key, '-inf', now)
      if mended and mended[i] then
        for _, ahead in ipairs(call('ZRANGE', key, last + 1, '+inf', 'BYSCORE')) do
          call('ZADD', key, 'XX', last, ahead)
        end
      end
      for n = 1, spend do call('ZADD', key, last, id .. ':' .. n) end
      call('PEXPIRE', key, ARGV[at + 5])
    end
    fact, at = fact + 3, at + 6
  else
    fact, at = fact + 1, at + 1
  end
end
return packed()
