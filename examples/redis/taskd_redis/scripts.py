"""
The writes, as Lua scripts, each of which Redis runs as one atomic step.

KEYS[1] is a hash with all tasks of an owner.  Its field `seq` is the owner's counter, and each other field is the id of
a task, whose value is the task's version, a colon, and the task without its version, which scripts need not understand.
"""

__all__ = ["CREATE", "DELETE", "REPLACE"]

# Stores ARGV[1] = ARGV[2], at the owner's next version.
_STORE = """
local function store()
    local seq = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1))
    redis.call('HSET', KEYS[1], ARGV[1], seq .. ':' .. ARGV[2])
    return seq
end
"""

# Creates the task ARGV[1] = ARGV[2].  If KEYS[2] is given, it remembers the task's id and the fingerprint ARGV[3] for
# ARGV[4] seconds.
CREATE = f"""
{_STORE}
local known = KEYS[2] and redis.call('GET', KEYS[2])
if known then
    if string.sub(known, 37) ~= ARGV[3] then
        return {{'reused'}}
    end
    local id = string.sub(known, 1, 36)
    local current = redis.call('HGET', KEYS[1], id)
    return current and {{'known', id, current}} or {{'deleted'}}
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
    return {{'exists'}}
end
local seq = store()
if KEYS[2] then
    redis.call('SET', KEYS[2], ARGV[1] .. ARGV[3], 'EX', ARGV[4])
end
return {{'created', seq}}
"""

# Replaces the task ARGV[1] with ARGV[2], if it still is ARGV[3]; otherwise, returns what it is now.
REPLACE = f"""
{_STORE}
local current = redis.call('HGET', KEYS[1], ARGV[1])
if current == ARGV[3] then
    return {{'replaced', store()}}
end
return {{'changed', current}}
"""

# Deletes the task ARGV[1], if it has the version ARGV[2], or if that is empty.
DELETE = """
local current = redis.call('HGET', KEYS[1], ARGV[1])
if not current then
    return 'missing'
end
if ARGV[2] ~= '' and ARGV[2] ~= string.match(current, '^%d+') then
    return 'changed'
end
redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('HDEL', KEYS[1], ARGV[1])
return 'deleted'
"""
