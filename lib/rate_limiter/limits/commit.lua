-- Makes a change of limits known to all nodes, unless another node was first.
--
-- KEYS[1]  hash "limits", as in meet.lua
-- ARGV[1]  the instance
-- ARGV[2]  the revision after the change, ARGV[3] its limits, ARGV[4] who makes it
-- Reply    1 if it was made, else 0
--
-- A script, because it compares before it sets.

local function field(part)
  return part .. ' ' .. ARGV[1]
end
local revision = tonumber(redis.call('HGET', KEYS[1], field('revision')) or '0') or 0
if revision >= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], field('revision'), ARGV[2])
redis.call('HSET', KEYS[1], field('limits'), ARGV[3])
redis.call('HSET', KEYS[1], field('by'), ARGV[4])
return 1
