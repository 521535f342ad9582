-- Gives the lease on an entry back without a value, and wakes those who wait for it.
-- KEYS[1]: the entry
-- ARGV[1]: the token
-- ARGV[2]: for how long nobody may take it as long as there is a stale value, in ms
-- ARGV[3]: the channel of those who wait
-- Returns: {1}: given back; {0}: it was gone
-- Idempotent: yes
local key = KEYS[1]
local head = redis.call('GETRANGE', key, 0, 9)
local kind = string.byte(head)
if (kind ~= 2 and kind ~= 3) or string.sub(head, 2, 9) ~= ARGV[1] then return {0} end
if kind == 2 then
  redis.call('UNLINK', key)
else
  local time = redis.call('TIME')
  -- Up: a pause that begins within a millisecond lasts from its end.
  local now = time[1] * 1000 + math.ceil(time[2] / 1000)
  local stale = struct.unpack('>I8', redis.call('GETRANGE', key, 26, 33))
  local free = math.min(now + tonumber(ARGV[2]), stale)
  redis.call('SETRANGE', key, 1, struct.pack('>c8BI8', string.rep('\0', 8), 0, free))
end
if string.byte(head, 10) == 1 then redis.call('PUBLISH', ARGV[3], key) end
return {1}
