#!lua flags=no-writes
-- Reads an entry that keeps its own times.
-- KEYS[1]: the entry
-- Returns: {0, payload}: fresh; {1, payload}: stale; {2}: nothing
-- Idempotent: yes
local entry = redis.call('GET', KEYS[1])
local kind = entry and string.byte(entry)
if not kind or (kind == 2 and #entry == 10) then return {2} end
if kind ~= 3 or #entry < 47 then return {0, entry} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fresh, stale = struct.unpack('>I8I8', entry, 19)
if now < fresh then return {0, string.sub(entry, 47)} end
if now < stale then return {1, string.sub(entry, 47)} end
return {2}
