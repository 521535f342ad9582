-- Takes a lease if nobody has it, with a fencing number above all that were given before.
-- KEYS[1]: the lease, a hash
-- ARGV[1]: the token of who asks, drawn for this acquire
-- ARGV[2]: how long the lease lasts, in microseconds
-- ARGV[3]: how long the key is kept after the lease's end, in milliseconds
-- ARGV[4]: the time in microseconds, given in tests only
-- Returns: {status, fence, microseconds left}; status 1: it is the asker's, from now or already; 0: another has it;
--   2: this token has had it, and that is over
-- Idempotent: yes
local now
if ARGV[4] then
  now = tonumber(ARGV[4])
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local kept = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until')
local fence, ends = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
if kept[1] == ARGV[1] then
  if ends <= now then return {2, fence, 0} end
  -- Changes nothing, but is a write: who waits for the replicas behind this question waits for the grant, too.
  redis.call('HSET', KEYS[1], 'owner', ARGV[1])
  return {1, fence, ends - now}
end
if ends > now then return {0, fence, ends - now} end
local ttl = tonumber(ARGV[2])
fence = math.max(fence + 1, now)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'fence', string.format('%.0f', fence),
  'until', string.format('%.0f', now + ttl))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ttl / 1000) + ARGV[3]))
return {1, fence, ttl}
