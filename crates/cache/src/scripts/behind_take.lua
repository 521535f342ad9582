-- Gives the lane's owner what is to be committed now. It stays pending.
-- KEYS[1]: what is pending, by entity, and the lane's fence
-- KEYS[2]: the entities that wait to be committed, by when the first write came
-- KEYS[3]: those that are tried again, by when
-- ARGV[1]: the owner's fencing number
-- ARGV[2]: the most entities
-- ARGV[3]: how long an entity waits for more writes where there are fewer, in µs; 0: not at all
-- ARGV[4]: the most bytes; one entity may have more
-- ARGV[5]: the time in µs, given in tests only, else empty
-- Returns: {0}: a later owner has come
--          {1, {{entity, kind, version, taken before, tries, name, value, fields}, ...}, µs}: and how long until there is
--          more, -1 where nothing waits
-- Idempotent: yes
local pending, fresh, retry = KEYS[1], KEYS[2], KEYS[3]
local fence, most, patience = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local last = tonumber(redis.call('HGET', pending, 'fence') or 0)
if fence < last then return {0} end
local time = redis.call('TIME')
local now = tonumber(ARGV[5]) or time[1] * 1000000 + time[2]

local function of(set, to, count)
  if count <= 0 then return {} end
  return redis.call('ZRANGE', set, '-inf', to, 'BYSCORE', 'LIMIT', 0, count)
end

local entities = of(retry, string.format('%.0f', now), most)
local whole = patience == 0 or redis.call('ZCARD', fresh) >= most
local ripe = whole and '+inf' or string.format('%.0f', now - patience)
for _, entity in ipairs(of(fresh, ripe, most - #entities)) do
  entities[#entities + 1] = entity
end

if fence > last then redis.call('HSET', pending, 'fence', ARGV[1]) end
local items, bytes = {}, 0
for _, entity in ipairs(entities) do
  local packed = redis.call('HGET', pending, entity)
  bytes = bytes + #packed
  if bytes > tonumber(ARGV[4]) and #items > 0 then break end
  local state = cmsgpack.unpack(packed)
  local again = state.taken == state.version and 1 or 0
  items[#items + 1] = {
    entity, state.kind, state.version, again, state.tries, state.name, state.value, state.fields,
  }
  if again == 0 then
    state.taken = state.version
    redis.call('HSET', pending, entity, cmsgpack.pack(state))
  end
end

local wait = -1
local function sooner(set, plus)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]
  if first then
    local left = math.max(first + plus - now, 0)
    if wait < 0 or left < wait then wait = left end
  end
end
sooner(fresh, patience)
sooner(retry, 0)
return {1, items, wait}
