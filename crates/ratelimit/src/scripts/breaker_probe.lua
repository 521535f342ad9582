-- Gives leave for a probe; makes the breaker half-open where it was open for its time.
-- KEYS[1]: the breaker
-- ARGV[1]: the permit, drawn by chance by whoever asks
-- ARGV[2]: a generation drawn by chance, for what the breaker becomes
-- ARGV[3]: the channel
-- ARGV[4]: the most permits at a time
-- ARGV[5]: how long one lasts, in µs
-- ARGV[6]: how long all of it is kept without a word, in ms
-- ARGV[7]: the time in µs, given in tests only, else empty
-- Returns: {state, generation, µs since it is that, µs that it is open yet, 1}: the permit is given
--          {state, generation, µs since it is that, µs until it may be asked again, 0}: it is not
--          {-1}: nobody knows the breaker
-- Idempotent: yes
local key, permit, most, lasts = KEYS[1], ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = tonumber(ARGV[7]) or time[1] * 1000000 + time[2]
local function digits(number) return string.format('%.0f', number) end

local state, generation, since, ends, given = unpack(redis.call(
  'HMGET', key, 'state', 'generation', 'since', 'until', 'permits'))
if not generation then return {-1} end
local left = state == '1' and tonumber(ends) - now or 0
if left > 0 or state ~= '1' and state ~= '2' then
  return {tonumber(state), generation, math.max(now - since, 0), left, 0}
end
if state == '1' then
  state, generation, since = '2', ARGV[2], digits(now)
  redis.call('HSET', key, 'state', state, 'generation', generation, 'since', since, 'until', '0', 'successes', '0')
  redis.call('PUBLISH', ARGV[3], state)
end

local permits, mine, count, first = '', false, 0, lasts
for name, till in string.gmatch(given or '', '(%d+) (%d+);') do
  -- The clock went back: it lasts no longer than it may.
  till = math.min(tonumber(till), now + lasts)
  if till > now then
    permits, count, first = permits .. name .. ' ' .. digits(till) .. ';', count + 1, math.min(first, till - now)
    mine = mine or name == permit
  end
end
if not mine and count < most then
  permits, mine = permits .. permit .. ' ' .. digits(now + lasts) .. ';', true
end
redis.call('HSET', key, 'permits', permits)
redis.call('PEXPIRE', key, ARGV[6])
return {2, generation, math.max(now - since, 0), mine and 0 or first, mine and 1 or 0}
