#!lua flags=no-writes
-- Lists what nobody tries any more, the longest dead first.
-- KEYS[1]: what is pending, by entity
-- KEYS[2]: the entities that nobody tries any more, by since when
-- ARGV[1]: the most to list, above 0
-- Returns: {1, {{entity, version, µs since it died, tries, why, name}, ...}}
-- Idempotent: yes
local pending, dead = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found, list = redis.call('ZRANGE', dead, 0, ARGV[1] - 1, 'WITHSCORES'), {}
for i = 1, #found, 2 do
  local state = cmsgpack.unpack(redis.call('HGET', pending, found[i]))
  list[#list + 1] = {found[i], state.version, math.max(now - found[i + 1], 0), state.tries, state.reason, state.name}
end
return {1, list}
