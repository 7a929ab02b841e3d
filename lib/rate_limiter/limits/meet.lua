-- Announces the limits of a node, and returns what all nodes share about limits.
--
-- KEYS[1]  hash "limits". For each instance "revision <instance>", the number of changes for all nodes, and "limits <instance>"
--          and "by <instance>", the last one; "node <instance> <id>", the time of a node's last call here and the version of
--          its limits. For each limiter that was reset as a whole "reset <limiter>", when
-- ARGV[1]  the instance, ARGV[2] the node's id, and ARGV[3] the version of its limits
-- ARGV[4]  after how many milliseconds a silent node is gone
-- ARGV[5]  and following: names of limiters, and when they were reset last, as far as the node knows
-- Reply    revision; limits; by; names of limiters and when they were reset; the versions of the nodes
--
-- A script, because it uses the server's clock, and because a number that one node knows must not be lowered by another.

local key, instance = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local nodes = 'node ' .. instance .. ' '
redis.call('HSET', key, nodes .. ARGV[2], string.format('%.0f', now) .. ' ' .. ARGV[3])

-- The server may have lost its data: the nodes give it back what they know.
for at = 5, #ARGV, 2 do
  local field = 'reset ' .. ARGV[at]
  local known = tonumber(redis.call('HGET', key, field) or '0') or 0
  if known < tonumber(ARGV[at + 1]) then
    redis.call('HSET', key, field, ARGV[at + 1])
  end
end

local resets, versions = {}, {}
local all = redis.call('HGETALL', key)
for at = 1, #all, 2 do
  local field, value = all[at], all[at + 1]
  if string.sub(field, 1, 6) == 'reset ' then
    resets[#resets + 1] = string.sub(field, 7)
    resets[#resets + 1] = value
  elseif string.sub(field, 1, #nodes) == nodes then
    local met, version = string.match(value, '^(%d+) (.*)$')
    -- A time ahead is from a server whose clock was ahead.
    if met and math.abs(now - tonumber(met)) <= tonumber(ARGV[4]) then
      versions[#versions + 1] = version
    else
      redis.call('HDEL', key, field)
    end
  end
end
local function change(part)
  return redis.call('HGET', key, part .. ' ' .. instance) or ''
end
return { change('revision'), change('limits'), change('by'), resets, versions }
