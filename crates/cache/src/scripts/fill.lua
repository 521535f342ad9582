-- Writes an entry for whoever has the lease on it, or for anybody, and wakes those who wait for it.
-- KEYS[1]: the entry
-- ARGV[1]: the token of the lease; empty: whatever is there
-- ARGV[2]: the payload
-- ARGV[3]: how long it is fresh, in ms
-- ARGV[4]: how long it may be used after that, in ms
-- ARGV[5]: 1 if it keeps its own times, so that it can be stale or refreshed; 0 if it is fresh as long as it is there
-- ARGV[6]: how long it took to load, in ms
-- ARGV[7]: the channel of those who wait
-- Returns: {1}: written; {0}: the lease is gone, nothing was written
-- Idempotent: yes
local key, token, payload = KEYS[1], ARGV[1], ARGV[2]
local ttl, grace, took = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local waited = 0
if token ~= '' then
  local head = redis.call('GETRANGE', key, 0, 9)
  local kind = string.byte(head)
  if (kind ~= 2 and kind ~= 3) or string.sub(head, 2, 9) ~= token then return {0} end
  waited = string.byte(head, 10)
end
if ARGV[5] == '1' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local head = struct.pack('>Bc8BI8I8I8I8I4', 3, string.rep('\0', 8), 0, 0, now + ttl, now + ttl + grace, ttl, took)
  payload = head .. payload
end
redis.call('SET', key, payload, 'PX', ttl + grace)
if waited == 1 then redis.call('PUBLISH', ARGV[7], key) end
return {1}
