-- Says that a node is there and what it votes, and answers what the breaker is. Where most nodes vote, it opens.
-- KEYS[1]: the breaker
-- ARGV[1]: the node
-- ARGV[2]: the generation that it knows
-- ARGV[3]: whether it votes to open that, 0 or 1
-- ARGV[4]: its failures in it
-- ARGV[5]: a generation drawn by chance, for what the breaker becomes
-- ARGV[6]: the channel
-- ARGV[7]: how long it is open, in µs
-- ARGV[8]: how long a vote counts without a word from its node, in µs
-- ARGV[9]: how long a node counts without one, in µs
-- ARGV[10]: how long nodes are counted before most of them can be told, in µs
-- ARGV[11]: the most fields, those of nodes among them
-- ARGV[12]: how long all of it is kept without a word, in ms
-- ARGV[13]: the time in µs, given in tests only, else empty
-- Returns: {state, generation, µs since it is that, µs that it is open yet}
-- Idempotent: yes
local key, mine, known, votes, drawn = KEYS[1], 'n:' .. ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[5]
local open_for, fresh, there, settling = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local time = redis.call('TIME')
local now = tonumber(ARGV[13]) or time[1] * 1000000 + time[2]
local function digits(number) return string.format('%.0f', number) end

local state, generation, since, ends, counted, heard, swept, entry = unpack(redis.call(
  'HMGET', key, 'state', 'generation', 'since', 'until', 'counted', 'heard', 'swept', mine))
if not generation then state, generation, since, ends = '0', drawn, now, 0 end
since, ends = math.min(tonumber(since), now), tonumber(ends)
-- The clock went back.
if state == '1' and ends - now > open_for then ends = now + open_for end
-- After a silence nobody knows who else is there: whoever speaks first is not most of them.
heard = tonumber(heard)
if not heard or heard > now or now - heard > fresh then counted = now end
redis.call('HSET', key, 'state', state, 'generation', generation, 'since', digits(since), 'until', digits(ends),
  'counted', digits(counted), 'heard', digits(now))

local full = not entry and redis.call('HLEN', key) >= tonumber(ARGV[11])
swept = tonumber(swept)
votes = votes and state == '0' and known == generation and now - counted >= settling
local nodes, voters = 0, 0
if votes or full or not swept or swept > now or now - swept >= there then
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local field, at, vote, failures, of = fields[i], string.match(fields[i + 1], '^(%d+) (%d) (%d+) (%d+)$')
    if field ~= mine and string.sub(field, 1, 2) == 'n:' then
      at = tonumber(at)
      if now - at >= there then
        redis.call('HDEL', key, field)
      else
        nodes = nodes + 1
        if vote == '1' and of == generation and now - at < fresh then voters = voters + 1 end
        if at > now then redis.call('HSET', key, field, digits(now) .. ' ' .. vote .. ' ' .. failures .. ' ' .. of) end
      end
    end
  end
  redis.call('HSET', key, 'swept', digits(now))
  full = not entry and redis.call('HLEN', key) >= tonumber(ARGV[11])
end
if not full then
  redis.call('HSET', key, mine, digits(now) .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. known)
  if votes and (voters + 1) * 2 > nodes + 1 then
    state, generation, since, ends = '1', drawn, now, now + open_for
    redis.call('HSET', key, 'state', state, 'generation', generation, 'since', digits(now), 'until', digits(ends))
    redis.call('PUBLISH', ARGV[6], state)
  end
end
redis.call('PEXPIRE', key, ARGV[12])
return {tonumber(state), generation, now - since, state == '1' and math.max(ends - now, 0) or 0}
