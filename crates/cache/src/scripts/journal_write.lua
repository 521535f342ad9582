-- Tells everybody what is invalid from here on, under the next version.
-- KEYS[1]: the journal
-- KEYS[2]: the tags
-- KEYS[3]: the log
-- ARGV[1]: an incarnation, for a journal that is not there
-- ARGV[2]: the most entries of the log
-- ARGV[3]: the most tags
-- ARGV[4]: the channel
-- ARGV[5]: who says it
-- ARGV[6]: "removed", "written" or "expired" (keys follow), "tags" (tags follow) or "all"
-- ARGV[7..]: keys or tags, none of them twice
-- Returns: {1, incarnation, version, the version before}
-- Idempotent: yes
local journal, tags, log = KEYS[1], KEYS[2], KEYS[3]
local kind = ARGV[6]
local incarnation, clock = unpack(redis.call('HMGET', journal, 'incarnation', 'clock'))
if not incarnation then
  redis.call('UNLINK', journal, tags, log)
  incarnation, clock = ARGV[1], '0'
  redis.call('HSET', journal, 'incarnation', incarnation)
end
local time = redis.call('TIME')
local version = math.max(clock + 1, time[1] * 1000000 + time[2])
local text = string.format('%.0f', version)
redis.call('HSET', journal, 'clock', text)

if kind == 'all' then
  redis.call('HSET', journal, 'floor', text)
  redis.call('UNLINK', tags)
elseif kind == 'tags' then
  for i = 7, #ARGV do redis.call('ZADD', tags, text, ARGV[i]) end
  local extra = redis.call('ZCARD', tags) - ARGV[3]
  if extra > 0 then
    local oldest = redis.call('ZPOPMIN', tags, extra)
    redis.call('HSET', journal, 'forgotten', string.format('%.0f', oldest[#oldest]))
  end
end
local entry = {'MAXLEN', '~', ARGV[2], text .. '-0', 'before', clock, 'by', ARGV[5], 'what', kind}
for i = 7, #ARGV do
  entry[#entry + 1] = 'of'
  entry[#entry + 1] = ARGV[i]
end
redis.call('XADD', log, unpack(entry))
redis.call('PUBLISH', ARGV[4], text)
return {1, incarnation, version, tonumber(clock)}
