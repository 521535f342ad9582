-- Reads what is pending of an entity. It does not say that it writes nothing: then a replica might be asked, which may not
-- know of the last write yet.
-- KEYS[1]: what is pending, by entity
-- ARGV[1]: the entity
-- Returns: {0}: nothing; {1, kind, version, value, fields}
-- Idempotent: yes
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then return {0} end
local state = cmsgpack.unpack(packed)
return {1, state.kind, state.version, state.value, state.fields}
