"""What runs inside the server: each script is one atomic step."""

from __future__ import annotations

import hashlib

__all__ = ["FORGET", "REPLACE", "SCRIPTS", "WRITE", "Script"]


class Script:
    """A Lua script, which Redis knows by the SHA-1 of its source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


# Carries out a ``torpor.storage.plan.Write``, if the record is still the one that it was made for.
# Returns 1, or else what is stored instead: the record, nil if there is none.
#
# Redis takes nothing back when a script fails. What can fail comes before the record, so that the
# most that can be left is a line too many in an index. Memory is no matter by then: Redis refuses
# it to the first command of a script that writes, or to none.
WRITE = Script("""\
local record, listing, wake, deleted = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local expected, value, ttl = ARGV[1], ARGV[2], ARGV[3]
local key, member = ARGV[4], ARGV[5]
local listed, wake_at, deleted_at = ARGV[6], ARGV[7], ARGV[8]
local first, begins, trim = tonumber(ARGV[9]), ARGV[10] == '1', ARGV[11]
local ENTRIES = 12

if expected == '' then
  if redis.call('EXISTS', record) == 1 then return redis.call('GET', record) end
elseif redis.call('GETRANGE', record, 0, #expected - 1) ~= expected then
  return redis.call('GET', record)
end

local entries = first and KEYS[5]
local dropped = KEYS[first and 6 or 5]

if listed == '-' then
  redis.call('DEL', record)  -- first, so that a full server lets go of things
  redis.call('ZADD', deleted, deleted_at, member)
elseif listed == '+' then
  redis.call('ZADD', listing, 0, key)
end
if wake_at ~= '' and wake_at ~= '-' then redis.call('ZADD', wake, wake_at, member) end

if entries then
  if begins and redis.call('EXISTS', entries) == 1 then redis.call('UNLINK', entries) end
  for i = ENTRIES, #ARGV, 2 do
    local seq = string.format('%.0f', first + (i - ENTRIES) / 2)
    redis.call('XADD', entries, seq .. '-1', 'checksum', ARGV[i], 'document', ARGV[i + 1])
  end
  if trim ~= '' then redis.call('XTRIM', entries, 'MINID', '=', trim) end
end
redis.call('SET', record, value)

if ttl ~= '' then
  local now = redis.call('TIME')
  local at = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ttl)
  redis.call('PEXPIREAT', record, at)
  if entries then redis.call('PEXPIREAT', entries, at) end
elseif entries then
  redis.call('PERSIST', entries)
end

if dropped then redis.call('UNLINK', dropped) end
if listed == '-' then redis.call('ZREM', listing, key) end
if listed == '+' then redis.call('ZREM', deleted, member) end
if wake_at == '-' then redis.call('ZREM', wake, member) end
return 1
""")

# The same for the most frequent of all writes, which changes nothing but the record: its data in
# place of what it was, without a thread. Half the arguments take half the time to send.
REPLACE = Script("""\
local record, expected, value, ttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if redis.call('GETRANGE', record, 0, #expected - 1) ~= expected then
  return redis.call('GET', record)
end
if ttl == '' then
  redis.call('SET', record, value)
else
  redis.call('SET', record, value, 'PX', ttl)
end
return 1
""")

# Removes a record that is still the expected one, be it a tombstone or nothing at all, from all
# indexes. Returns 1 if it did.
FORGET = Script("""\
local record, listing, wake, deleted = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local expected, key, member = ARGV[1], ARGV[2], ARGV[3]
if expected == '' then
  if redis.call('EXISTS', record) == 1 then return 0 end
elseif redis.call('GETRANGE', record, 0, #expected - 1) ~= expected then
  return 0
end
redis.call('DEL', record)
redis.call('ZREM', listing, key)
redis.call('ZREM', wake, member)
redis.call('ZREM', deleted, member)
return 1
""")

SCRIPTS = (WRITE, REPLACE, FORGET)
