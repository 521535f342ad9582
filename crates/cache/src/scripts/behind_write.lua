-- Takes a write of an entity, and merges it into what is pending of it.
-- KEYS[1]: what is pending, by entity, and the lane's clock
-- KEYS[2]: the entities that wait to be committed, by when the first write came
-- KEYS[3]: those that are tried again, by when
-- KEYS[4]: those that nobody tries any more, by since when
-- ARGV[1]: the entity
-- ARGV[2]: "put", "patch" or "delete"
-- ARGV[3]: how the program names it
-- ARGV[4]: the value of a put
-- ARGV[5]: the most entities of the lane
-- ARGV[6]: the most fields of an entity
-- ARGV[7]: with each so many that wait, somebody is told
-- ARGV[8]: the channel
-- ARGV[9]: what is said there
-- ARGV[10]: the time in µs, given in tests only, else empty
-- ARGV[11..]: the fields of a patch and what they become, in turn
-- Returns: {0, entities}: the lane is full; {1, version}: taken; {2}: a patch of what is being deleted;
--          {3, fields}: too many of them. Only what is taken writes.
-- Idempotent: no
local pending, fresh, retry, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entity, kind, value = ARGV[1], ARGV[2], ARGV[4]
local time = redis.call('TIME')
local now = tonumber(ARGV[10]) or time[1] * 1000000 + time[2]
local packed, clock = unpack(redis.call('HMGET', pending, entity, 'clock'))
local before = packed and cmsgpack.unpack(packed)
if not before then
  local count = redis.call('ZCARD', fresh) + redis.call('ZCARD', retry) + redis.call('ZCARD', dead)
  if count >= tonumber(ARGV[5]) then return {0, count} end
end

local fields = {}
if kind == 'patch' then
  if before then
    if before.kind == 'delete' then return {2} end
    kind, value, fields = before.kind, before.value, before.fields
  end
  local at = {}
  for i = 1, #fields, 2 do at[fields[i]] = i end
  for i = 11, #ARGV, 2 do
    local place = at[ARGV[i]] or #fields + 1
    at[ARGV[i]] = place
    fields[place], fields[place + 1] = ARGV[i], ARGV[i + 1]
  end
  if #fields > 2 * ARGV[6] then return {3, #fields / 2} end
end

local version = math.max((clock or 0) + 1, now)
local state = {
  kind = kind, version = version, taken = before and before.taken or 0, tries = before and before.tries or 0,
  name = ARGV[3], value = value, fields = fields, reason = before and before.reason or '',
}
local revived = redis.call('ZREM', dead, entity) == 1
if revived then state.tries = 0 end
redis.call('HSET', pending, entity, cmsgpack.pack(state), 'clock', string.format('%.0f', version))
if revived or not before then
  redis.call('ZADD', fresh, string.format('%.0f', now), entity)
  if redis.call('ZCARD', fresh) % ARGV[7] == 0 then redis.call('PUBLISH', ARGV[8], ARGV[9]) end
end
return {1, version}
