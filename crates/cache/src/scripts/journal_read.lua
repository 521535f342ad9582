-- Reads what became invalid after a version, and begins the journal where it is not there.
-- KEYS[1]: the journal
-- KEYS[2]: the tags
-- KEYS[3]: the log
-- ARGV[1]: an incarnation, for a journal that is not there
-- ARGV[2]: the incarnation that is known, or empty
-- ARGV[3]: the version that is known
-- ARGV[4]: the most entries to answer with
-- Returns: {0, state, entries}: all that came after, or its beginning
--          {1, state}: what came after is not known
--          where state is {incarnation, version, floor, forgotten} and an entry {version, fields}
-- Idempotent: yes
local journal, tags, log = KEYS[1], KEYS[2], KEYS[3]
local incarnation, clock, floor, forgotten =
  unpack(redis.call('HMGET', journal, 'incarnation', 'clock', 'floor', 'forgotten'))
if not incarnation then
  redis.call('UNLINK', journal, tags, log)
  local time = redis.call('TIME')
  incarnation, clock = ARGV[1], string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('HSET', journal, 'incarnation', incarnation, 'clock', clock)
end
local state = {incarnation, tonumber(clock), tonumber(floor or 0), tonumber(forgotten or 0)}
local known = ARGV[3]
if incarnation ~= ARGV[2] then return {1, state} end
if clock == known then return {0, state, {}} end
local entries = redis.call('XRANGE', log, '(' .. known .. '-0', '+', 'COUNT', ARGV[4])
-- Also where the version went back: there is none then, or one that follows another.
if #entries == 0 or entries[1][2][2] ~= known then return {1, state} end
return {0, state, entries}
