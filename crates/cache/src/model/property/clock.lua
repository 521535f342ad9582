local server, redis, now = redis, {}, tonumber(table.remove(ARGV))
local millis = math.floor(now / 1000)
local by_that_time = {
  TIME = function() return {string.format('%.0f', math.floor(now / 1000000)), string.format('%.0f', now % 1000000)} end,
  SET = function(key, value, px, ttl) return server.call('SET', key, value, 'PXAT', millis + ttl) end,
  PEXPIRE = function(key, ttl) return server.call('PEXPIREAT', key, millis + ttl) end,
  PTTL = function(key)
    local ends = server.call('PEXPIRETIME', key)
    return ends < 0 and ends or ends - millis
  end,
  -- Kept, for the test to see.
  PUBLISH = function(channel, message) return server.call('RPUSH', channel, message) end,
}
redis.pcall = server.pcall
redis.call = function(command, ...) return (by_that_time[command] or function(...) return server.call(command, ...) end)(...) end
