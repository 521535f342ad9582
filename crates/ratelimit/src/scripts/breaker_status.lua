#!lua flags=no-writes
-- Tells all there is to tell of the breaker.
-- KEYS[1]: the breaker
-- ARGV[1]: how long a vote counts without a word from its node, in µs
-- ARGV[2]: how long a node counts without one, in µs
-- ARGV[3]: the time in µs, given in tests only, else empty
-- Returns: {state, generation, µs since it is that, µs that it is open yet, since when in µs, nodes, votes, failures,
--           permits, successes of probes}
--          {-1}: nobody knows the breaker
-- Idempotent: yes
local fresh, there = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(ARGV[3]) or time[1] * 1000000 + time[2]
local fields, known = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #fields, 2 do known[fields[i]] = fields[i + 1] end
if not known.generation then return {-1} end
local nodes, votes, failures, permits = 0, 0, 0, 0
for field, value in pairs(known) do
  local at, vote, failed, of = string.match(value, '^(%d+) (%d) (%d+) (%d+)$')
  if string.sub(field, 1, 2) == 'n:' and now - at < there then
    nodes = nodes + 1
    if of == known.generation then
      failures = failures + failed
      if vote == '1' and now - at < fresh then votes = votes + 1 end
    end
  end
end
for till in string.gmatch(known.permits or '', '%d+ (%d+);') do
  if tonumber(till) > now then permits = permits + 1 end
end
local left = known.state == '1' and math.max(known['until'] - now, 0) or 0
return {
  tonumber(known.state), known.generation, math.max(now - known.since, 0), left, tonumber(known.since),
  nodes, votes, failures, permits, tonumber(known.successes or 0),
}
