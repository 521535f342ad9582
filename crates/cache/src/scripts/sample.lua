#!lua flags=no-writes
-- Looks at keys of this server, drawn by chance.
-- KEYS: none is given: the server draws them
-- ARGV[1]: how many, at most 500
-- ARGV[2]: with what those that are sought begin
-- ARGV[3]: and what follows behind the hash tag
-- Returns: {0, keys of the server, how many were looked at, those of them that were sought}
-- Idempotent: yes
local head, kind = ARGV[2], ARGV[3]
local size = redis.call('DBSIZE')
local seen, found = 0, {}
for _ = 1, math.min(tonumber(ARGV[1]), 500) do
  local key = redis.call('RANDOMKEY')
  if not key then break end
  seen = seen + 1
  local tag = string.find(key, '}', #head, true)
  if tag and string.sub(key, 1, #head) == head and string.sub(key, tag, tag + #kind - 1) == kind then
    -- Not one whose name is only longer.
    local next = string.byte(key, tag + #kind)
    if not next or next == 58 then found[#found + 1] = key end
  end
end
return {0, size, seen, found}
