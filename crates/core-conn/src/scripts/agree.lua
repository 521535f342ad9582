-- Keeps the layout of a key space, and tells the one that is kept.
-- KEYS[1]: the layout key, a hash that belongs to the key space and has no end
-- ARGV[1]: the version of the layout
-- ARGV[2]: the number of partitions
-- Returns: {version, partitions}, as kept
-- Idempotent: yes
local kept = redis.call('HMGET', KEYS[1], 'version', 'partitions')
if not kept[1] then
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'partitions', ARGV[2])
  return {tonumber(ARGV[1]), tonumber(ARGV[2])}
end
return {tonumber(kept[1]), tonumber(kept[2])}
