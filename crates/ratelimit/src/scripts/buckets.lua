-- Decides on some buckets at once by their theoretical arrival times (GCRA), all or nothing: `look.lua` and `take.lua` for
-- these alone, as most decisions over several levels are, at less of the server's time. Times are ticks of 125 ns since 2024.
-- KEYS[n]: each bucket
-- ARGV[1..]: of each bucket the cost in ticks, the most ticks that may have been spent before, and how long it is kept, in ms
-- ARGV[3n+1]: the time, given in tests only
-- Returns: 1, now, ticks...: all of it is spent; 0, now, ticks...: nothing is. Of each bucket: until it is full, before
--   this. Where any was refunded, how often each was follows. As doubles, packed
-- Idempotent: no
local call, pack, read, keys, args, count = redis.call, struct.pack, struct.unpack, KEYS, ARGV, #KEYS
local now = tonumber(args[3 * count + 1])
if not now then
  now = call('TIME')
  now = (now[1] - 1704067200) * 8000000 + now[2] * 8
end
-- With room for a few, which is cheaper than to grow.
local reply, fits, refunds, mended, at = {1, now, nil, nil, nil}, true, nil, nil, 1
local states = call('MGET', unpack(keys))
for i = 1, count do
  local state, ahead = states[i], 0
  if state then
    ahead = read('<d', state) - now
    if ahead < 0 then ahead = 0 end
    if #state > 8 then
      refunds = refunds or {}
      refunds[i] = read('<d', state, 9)
    end
  end
  if ahead - args[at + 1] > 0 then
    fits = false
    -- Further ahead than it could be: the clock was set back.
    if ahead > args[at + 2] * 8000 then
      ahead = args[at + 2] * 4000
      mended = mended or {}
      mended[i] = true
    end
  end
  reply[i + 2], at = ahead, at + 3
end
if refunds then
  for i = 1, count do reply[count + i + 2] = refunds[i] or 0 end
end
if not fits then
  reply[1] = 0
  if not mended then return pack('<' .. string.rep('d', #reply), unpack(reply)) end
end

at = 1
for i = 1, count do
  if fits or mended[i] then
    local state = pack('<d', now + reply[i + 2] + (fits and args[at] or 0))
    if refunds and refunds[i] then state = state .. pack('<d', refunds[i]) end
    -- SET with PX costs more: it has options to read.
    call('PSETEX', keys[i], args[at + 2], state)
  end
  at = at + 3
end
return pack('<' .. string.rep('d', #reply), unpack(reply))
