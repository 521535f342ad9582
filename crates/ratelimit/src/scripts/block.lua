-- Blocks a subject; a longer block than this stays.
-- KEYS[1]: the block
-- ARGV[1]: for how long, in ms
-- ARGV[2]: the time in ticks of 125 ns since 2024, given in tests only
-- Returns: {1}: blocked; {0}: it is for longer already
-- Idempotent: yes
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = (time[1] - 1704067200) * 8000000 + time[2] * 8
end
local state = redis.call('GET', KEYS[1])
local stop = now + ARGV[1] * 8000
if state and struct.unpack('<d', state) >= stop then return {0} end
redis.call('SET', KEYS[1], struct.pack('<d', stop), 'PX', ARGV[1])
return {1}
