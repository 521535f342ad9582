-- Says that a worker is there, or goes, and answers how many lanes are its share: the shares of all are all lanes.
-- KEYS[1]: the workers of a buffer, by until when each counts as there, in µs
-- ARGV[1]: the worker
-- ARGV[2]: for how long it counts as there unless it says so again, in µs; 0: it goes
-- ARGV[3]: how many lanes there are
-- ARGV[4]: the channel of the workers, who are told when others come or go
-- ARGV[5]: a lane that it has given up, which they are told too, else empty
-- ARGV[6]: the time in µs, given in tests only, else empty
-- Returns: {1, share, how many workers are there}
-- Idempotent: yes
local workers, me, ttl, lanes = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(ARGV[6]) or time[1] * 1000000 + time[2]
local all, gone, changed = redis.call('HGETALL', workers), {}, ttl > 0
local count, rank = 0, 0
for i = 1, #all, 2 do
  local worker, ends = all[i], tonumber(all[i + 1])
  if worker == me then
    changed = ttl == 0
  elseif ends <= now then
    gone[#gone + 1] = worker
  else
    count = count + 1
    if worker < me then rank = rank + 1 end
  end
end

for _, worker in ipairs(gone) do redis.call('HDEL', workers, worker) end
local share = 0
if ttl > 0 then
  count = count + 1
  share = math.floor(lanes / count) + (rank < lanes % count and 1 or 0)
  redis.call('HSET', workers, me, string.format('%.0f', now + ttl))
  local ms = math.ceil(ttl / 1000)
  if redis.call('PTTL', workers) < ms then redis.call('PEXPIRE', workers, ms) end
else
  redis.call('HDEL', workers, me)
end
if changed or #gone > 0 then redis.call('PUBLISH', ARGV[4], 'workers') end
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], 'free:' .. ARGV[5]) end
return {1, share, count}
