-- Marks an entry stale; one that can't be stale is removed. A load that is under way will not fill it.
-- KEYS[1]: the entry
-- Returns: {1}: there was one; {0}: there was none
-- Idempotent: yes
local key = KEYS[1]
local head = redis.call('GETRANGE', key, 0, 46)
local kind = string.byte(head)
if not kind then return {0} end
if kind ~= 3 or #head < 47 then
  redis.call('UNLINK', key)
  return {kind == 2 and #head == 10 and 0 or 1}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fresh = math.min(now, (struct.unpack('>I8', head, 19)))
redis.call('SETRANGE', key, 1, struct.pack('>c8BI8I8', string.rep('\0', 8), 0, 0, fresh))
return {1}
