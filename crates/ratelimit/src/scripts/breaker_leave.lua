-- Says that a node is gone: it counts no more.
-- KEYS[1]: the breaker
-- ARGV[1]: the node
-- Returns: {1}: it counted; {0}: it did not
-- Idempotent: yes
return {redis.call('HDEL', KEYS[1], 'n:' .. ARGV[1])}
