-- Records a node's heartbeat, or removes the node. Returns all live nodes.
--
-- Why a script: the server's clock decides, because the nodes' clocks may differ by minutes.
--
-- KEYS[1]  a sorted set: the nodes, by the server's time of their last heartbeat in ms
-- ARGV[1]  the node
-- ARGV[2]  the time in ms after which a node without a heartbeat is removed
-- ARGV[3]  "stay" or "leave"
-- reply    the live nodes, ordered by name

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
-- A heartbeat in the future was recorded by a server whose clock was ahead. The next one replaces it.
redis.call('ZREMRANGEBYSCORE', key, '(' .. text(now), '+inf')
redis.call('PEXPIRE', key, text(keep))

local nodes = redis.call('ZRANGE', key, 0, -1)
table.sort(nodes)
return nodes
