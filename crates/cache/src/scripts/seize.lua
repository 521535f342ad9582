-- Takes the lease on an entry from whoever has it, and leaves of the entry only what may be used as stale.
-- KEYS[1]: the entry
-- ARGV[1]: the token, 8 bytes
-- ARGV[2]: how long the lease lasts, in ms
-- Returns: {1}
-- Idempotent: yes
local key, token, lease = KEYS[1], ARGV[1], tonumber(ARGV[2])
local head = redis.pcall('GETRANGE', key, 0, 46)
local kind = type(head) == 'string' and string.byte(head)
-- Who waits for the one before is woken by this one.
local waited = ((kind == 2 and #head == 10) or (kind == 3 and #head == 47)) and string.byte(head, 10) or 0
if kind ~= 3 or #head < 47 then
  redis.call('SET', key, struct.pack('Bc8B', 2, token, waited), 'PX', lease)
  return {1}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fresh = math.min(now, (struct.unpack('>I8', head, 19)))
redis.call('SETRANGE', key, 1, struct.pack('>c8BI8I8', token, waited, now + lease, fresh))
if redis.call('PTTL', key) < lease then redis.call('PEXPIRE', key, lease) end
return {1}
