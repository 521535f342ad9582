-- Says that a node is there, and answers how many are.
-- KEYS[1]: the nodes
-- ARGV[1]: the node
-- ARGV[2]: how long it counts without a word, in ms
-- ARGV[3]: the most nodes; more of them are not counted
-- Returns: {1, nodes}
-- Idempotent: yes
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local count = redis.call('ZCOUNT', KEYS[1], '-inf', '+inf')
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then count = count + 1 end
if count <= tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {1, count}
