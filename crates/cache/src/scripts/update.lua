-- Writes an entry where there is an older one, and wakes those who wait for it. What is being loaded will not fill it.
-- KEYS[1]: the entry
-- ARGV[1]: the version, 8 bytes
-- ARGV[2]: the payload
-- ARGV[3]: how long it is fresh, in ms
-- ARGV[4]: how long it may be used after that, in ms
-- ARGV[5]: 1 if it keeps its own times; 0 if it is fresh as long as it is there
-- ARGV[6]: the channel of those who wait
-- Returns: {1}: written; {0}: there is none, or one that is not older
-- Idempotent: yes
local key, payload = KEYS[1], ARGV[2]
local ttl, grace = tonumber(ARGV[3]), tonumber(ARGV[4])
local entry = redis.pcall('GET', key)
if type(entry) == 'table' then entry = '\1' end
local kind = entry and string.byte(entry)
if not kind then return {0} end
-- No lease, and no times of its own: damaged, and older than anything.
if (kind == 2 and #entry ~= 10) or (kind == 3 and #entry < 47) then kind = 0 end
local waited = (kind == 2 or kind == 3) and string.byte(entry, 10) or 0
if kind == 2 then
  redis.call('UNLINK', key)
  if waited == 1 then redis.call('PUBLISH', ARGV[6], key) end
  return {0}
end

local at = kind == 3 and 47 or 1
if string.byte(entry, at) == 4 then
  local tags = string.byte(entry, at + 17) or 0
  at = at + 18
  for _ = 1, tags do at = at + 1 + (string.byte(entry, at) or 0) end
end
if string.byte(entry, at) == 5 and #entry >= at + 8 then
  local high, low = struct.unpack('>I4I4', entry, at + 1)
  local new_high, new_low = struct.unpack('>I4I4', ARGV[1])
  if high > new_high or (high == new_high and low >= new_low) then return {0} end
end
if ARGV[5] == '1' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local head = struct.pack('>Bc8BI8I8I8I8I4', 3, string.rep('\0', 8), 0, 0, now + ttl, now + ttl + grace, ttl, 0)
  payload = head .. payload
end
redis.call('SET', key, payload, 'PX', ttl + grace)
if waited == 1 then redis.call('PUBLISH', ARGV[6], key) end
return {1}
