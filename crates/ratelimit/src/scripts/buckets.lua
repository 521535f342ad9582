-- Decides on some buckets at once by their theoretical arrival times (GCRA), all or nothing: `look.lua` and `take.lua` for
-- these alone, as most decisions over several levels are. Times are ticks of 125 ns since 2024.
-- KEYS[n]: each bucket
-- ARGV[1..]: of each bucket the cost in ticks, the most ticks that may be spent, and how long it is kept, in ms
-- ARGV[3n+1]: the time, given in tests only
-- Returns: {1, now, facts...}: all of it is spent; {0, now, facts...}: nothing is. The facts of each: ticks until it is
--   full, before this; refunds
-- Idempotent: no
local call, pack, read, count = redis.call, struct.pack, struct.unpack, #KEYS
local now = tonumber(ARGV[3 * count + 1])
if not now then
  local time = call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
local reply, mended = {1, now}, nil
for i = 1, count do
  local state = call('GET', KEYS[i])
  local ahead, refunds = 0, 0
  if state then
    ahead = read('<d', state) - now
    if ahead < 0 then ahead = 0 end
    if #state > 8 then refunds = read('<d', state, 9) end
  end
  if ahead + ARGV[3 * i - 2] - ARGV[3 * i - 1] > 0 then
    reply[1] = 0
    -- Further ahead than it could be: the clock was set back.
    if ahead > ARGV[3 * i] * 8000 then
      ahead = ARGV[3 * i] * 4000
      mended = mended or {}
      mended[i] = true
    end
  end
  reply[2 * i + 1], reply[2 * i + 2] = ahead, refunds
end
if reply[1] == 0 and not mended then return reply end

for i = 1, count do
  local cost = reply[1] == 1 and ARGV[3 * i - 2] or 0
  if reply[1] == 1 or mended[i] then
    local state = pack('<d', now + reply[2 * i + 1] + cost)
    if reply[2 * i + 2] > 0 then state = state .. pack('<d', reply[2 * i + 2]) end
    call('SET', KEYS[i], state, 'PX', ARGV[3 * i])
  end
end
return reply
