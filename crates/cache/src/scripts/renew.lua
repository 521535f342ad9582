-- Keeps the lease on an entry.
-- KEYS[1]: the entry
-- ARGV[1]: the token
-- ARGV[2]: how long the lease lasts from now, in ms
-- Returns: {1}: kept; {0}: it is gone
-- Idempotent: yes
local head = redis.call('GETRANGE', KEYS[1], 0, 8)
local kind, lease = string.byte(head), tonumber(ARGV[2])
if (kind ~= 2 and kind ~= 3) or string.sub(head, 2) ~= ARGV[1] then return {0} end
if kind == 3 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('SETRANGE', KEYS[1], 10, struct.pack('>I8', now + lease))
end
if redis.call('PTTL', KEYS[1]) < lease then redis.call('PEXPIRE', KEYS[1], lease) end
return {1}
