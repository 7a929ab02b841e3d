-- Says that a node is there, or leaves, and tells who is.
--
-- KEYS[1]  a sorted set: each node, by the server's time in milliseconds when it was last heard
-- ARGV[1]  the node
-- ARGV[2]  for how many milliseconds it counts as there
-- ARGV[3]  "stay" or "leave"
-- Reply    every node that is there, in the order of their names
--
-- A script, since it goes by the server's clock: those of the nodes may differ by minutes.

local key, node, keep = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number)
  return string.format('%.0f', number)
end

if ARGV[3] == 'leave' then
  redis.call('ZREM', key, node)
else
  redis.call('ZADD', key, text(now), node)
end
redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. text(now - keep))
-- One that was heard in the future was heard by a server whose clock was ahead: it will say so again.
redis.call('ZREMRANGEBYSCORE', key, '(' .. text(now), '+inf')
redis.call('PEXPIRE', key, text(keep))

local nodes = redis.call('ZRANGE', key, 0, -1)
table.sort(nodes)
return nodes
