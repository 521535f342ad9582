-- Runs one command, so that its reply comes behind a constant.
-- KEYS[n]: the command's keys, which are also among its arguments
-- ARGV[n]: the command's name and all of its arguments, in order
-- Returns: the command's reply, in RESP2 shapes
-- Idempotent: no (the command says)
return redis.call(unpack(ARGV))
