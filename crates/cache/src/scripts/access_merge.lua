-- Adds what a process has seen to what the fleet has seen.
-- KEYS[1]: counts of the keys that are asked for
-- KEYS[2]: counts of those that were not cached
-- KEYS[3]: when keys were asked for last, in µs
-- KEYS[4]: statistics, and when counts were decayed last
-- ARGV[1]: the most keys to keep of each sort
-- ARGV[2]: how long all of it is kept, in ms
-- ARGV[3]: the time in which a count halves, in ms
-- ARGV[4]: how many statistics there are
-- ARGV[5]: how many keys that are asked for
-- ARGV[6]: how many that were not cached
-- ARGV[7..]: pairs: a statistic and by how much it has grown; a key and how often, twice; a key and how many µs ago
-- Returns: {0, counts}: of each key that is asked for, in the same order, for the whole fleet
-- Idempotent: no
local hot, missed, recent, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

-- Now and then: it looks at all of them.
local half = tonumber(ARGV[3])
local decayed = math.min(tonumber(redis.call('HGET', stats, 'decayed') or now), now)
if now - decayed >= half / 24 then
  local weight = string.format('%.17g', 0.5 ^ ((now - decayed) / half))
  for _, counts in ipairs({hot, missed}) do
    redis.call('ZUNIONSTORE', counts, 1, counts, 'WEIGHTS', weight)
  end
  decayed = now
end
redis.call('HSET', stats, 'decayed', string.format('%.0f', decayed))

local at = 7
for _ = 1, ARGV[4] do
  redis.call('HINCRBY', stats, ARGV[at], ARGV[at + 1])
  at = at + 2
end
local all = {}
for place = 1, ARGV[5] do
  all[place] = math.floor(redis.call('ZADD', hot, 'INCR', ARGV[at + 1], ARGV[at]) + 0.5)
  at = at + 2
end
for _ = 1, ARGV[6] do
  redis.call('ZADD', missed, 'INCR', ARGV[at + 1], ARGV[at])
  at = at + 2
end
for place = at, #ARGV, 2 do
  redis.call('ZADD', recent, 'GT', string.format('%.0f', micros - ARGV[place + 1]), ARGV[place])
end

for _, key in ipairs({hot, missed, recent}) do
  local extra = redis.call('ZCARD', key) - ARGV[1]
  if extra > 0 then redis.call('ZPOPMIN', key, extra) end
  redis.call('PEXPIRE', key, ARGV[2])
end
redis.call('PEXPIRE', stats, ARGV[2])
return {0, all}
