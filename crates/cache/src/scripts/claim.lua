-- Reads an entry and, where it is not there, past its time or due for a refresh, takes the lease on loading it.
-- KEYS[1]: the entry
-- ARGV[1]: the token, 8 bytes; the same one may ask again
-- ARGV[2]: how long the lease lasts, in ms
-- ARGV[3]: the share of its time to live that is left when a refresh is due, in thousandths; 0: none is
-- ARGV[4]: refreshed early where the load took so many thousandths of what is left, drawn for this call; 0: not
-- ARGV[5]: of an entry that is not to be believed: "=" and its payload, "^" and how that begins, or "type" where it is no
--          string; else empty
-- Returns: {0, payload, ms left, its whole time to live in ms, how long it took to load in ms}: fresh; both are 0 where it
--          keeps no times of its own
--          {1, payload, ms left}: fresh, and the caller has the lease to refresh it
--          {2}: nothing, and the caller has the lease
--          {3, payload}: stale, and the caller has the lease
--          {4, ms}: nothing; somebody has the lease for so long
--          {5, payload, ms}: stale; somebody has the lease for so long
--          {6, payload}: stale; the last load failed, and it is too soon for another
-- Idempotent: yes
local key, token, lease = KEYS[1], ARGV[1], tonumber(ARGV[2])
local ahead, roll, bad = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local entry = redis.pcall('GET', key)
if type(entry) == 'table' then
  if bad ~= 'type' then return entry end
  entry = false
end
local kind = entry and string.byte(entry)
-- No lease, and no times of its own: damaged, and fresh to whoever can read it.
if (kind == 2 and #entry ~= 10) or (kind == 3 and #entry < 47) then kind = 0 end
if bad ~= '' and entry then
  local payload, mark = kind == 3 and string.sub(entry, 47) or entry, string.sub(bad, 1, 1)
  if mark == '^' then payload = string.sub(payload, 1, #bad - 1) end
  if mark .. payload == bad then kind = nil end
end

local waited = 0
if kind == 2 then
  local holder
  holder, waited = struct.unpack('c8B', entry, 2)
  if holder ~= token then
    if waited == 0 then redis.call('SETRANGE', key, 9, '\1') end
    return {4, math.max(redis.call('PTTL', key), 1)}
  end
end
if not kind or kind == 2 then
  redis.call('SET', key, struct.pack('Bc8B', 2, token, waited), 'PX', lease)
  return {2}
end
if kind ~= 3 then
  return {0, entry, redis.call('PTTL', key), 0, 0}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder, busy, fresh, stale, ttl, took
holder, waited, busy, fresh, stale, ttl, took = struct.unpack('>c8BI8I8I8I8I4', entry, 2)
local payload = string.sub(entry, 47)
local free = now >= busy or holder == token

-- Who waits for the one before is woken by this one.
local function take()
  redis.call('SETRANGE', key, 1, struct.pack('>c8BI8', token, waited, now + lease))
  if redis.call('PTTL', key) < lease then redis.call('PEXPIRE', key, lease) end
end

if now < fresh then
  local left = fresh - now
  if free and (left * 1000 <= ttl * ahead or left * 1000 <= took * roll) then
    take()
    return {1, payload, left}
  end
  return {0, payload, left, ttl, took}
end
if free then
  take()
  if now < stale then return {3, payload} end
  return {2}
end
if holder == string.rep('\0', 8) then return {6, payload} end
if waited == 0 then redis.call('SETRANGE', key, 9, '\1') end
if now < stale then return {5, payload, busy - now} end
return {4, busy - now}
