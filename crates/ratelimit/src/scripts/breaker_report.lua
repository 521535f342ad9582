-- Says how a probe ended. One whose permit is over or was another generation's says nothing.
-- KEYS[1]: the breaker
-- ARGV[1]: the permit
-- ARGV[2]: how it ended: 0 says nothing, 1 well, 2 badly
-- ARGV[3]: a generation drawn by chance, for what the breaker becomes
-- ARGV[4]: the channel
-- ARGV[5]: how many must end well for it to close
-- ARGV[6]: how long it is open, in µs
-- ARGV[7]: how long all of it is kept without a word, in ms
-- ARGV[8]: the time in µs, given in tests only, else empty
-- Returns: {state, generation, µs since it is that, µs that it is open yet, whether it counted}
--          {-1}: nobody knows the breaker
-- Idempotent: yes
local key, permit, ending = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(ARGV[8]) or time[1] * 1000000 + time[2]
local function digits(number) return string.format('%.0f', number) end

local state, generation, since, ends, given, successes = unpack(redis.call(
  'HMGET', key, 'state', 'generation', 'since', 'until', 'permits', 'successes'))
if not generation then return {-1} end
local others, mine = '', false
for name, till in string.gmatch(given or '', '(%d+) (%d+);') do
  if name ~= permit then
    others = others .. name .. ' ' .. till .. ';'
  elseif tonumber(till) > now then
    mine = true
  end
end
if not mine then
  local left = state == '1' and math.max(ends - now, 0) or 0
  return {tonumber(state), generation, math.max(now - since, 0), left, 0}
end
successes = tonumber(successes) + (ending == '1' and 1 or 0)
ends = 0
if ending == '2' then
  state, ends = '1', now + tonumber(ARGV[6])
elseif successes >= tonumber(ARGV[5]) then
  state = '0'
end
if state ~= '2' then generation, since, others, successes = ARGV[3], digits(now), '', 0 end
redis.call('HSET', key, 'state', state, 'generation', generation, 'since', since, 'until', digits(ends),
  'permits', others, 'successes', digits(successes))
redis.call('PUBLISH', ARGV[4], state)
redis.call('PEXPIRE', key, ARGV[7])
return {tonumber(state), generation, math.max(now - since, 0), math.max(ends - now, 0), 1}
