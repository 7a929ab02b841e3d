-- Records a node's heartbeat and the share of the limits that it may use, or removes the node. Grants the node the share
-- that the others leave free.
--
-- Why a script: two nodes must not be granted the same share, and the server's clock decides, because the nodes' clocks
-- may differ by minutes.
--
-- A share is (nodes, rank): limit / nodes, and one more if rank < limit % nodes. (0, 0) is no part of a limit. The record of a node has
-- the share that it uses and the one that it is granted, until its next heartbeat says that it uses the latter. The
-- shares in all records together are at most the whole, for every limit:
--   - the sum of 1 / nodes is at most 1;
--   - a node gets a part of the remainder only while all records divide by the same number, and no two the same part;
--   - while a record has a part of a remainder, another node's share grows only to that same number, which is at least
--     the number of nodes. So there are at most that many records, none with more than limit / nodes and its part.
--
-- KEYS[1]  a sorted set: "node incarnation nodes rank nodes rank", by the server's time of the last heartbeat in ms
-- ARGV[1]  the node, without spaces
-- ARGV[2]  the time in ms after which a node without a heartbeat is removed
-- ARGV[3]  "join" until the first reply, then "stay"; or "leave"
-- ARGV[4]  the incarnation, a random word without spaces: a node that joins replaces its former incarnation
-- ARGV[5]  the number of nodes among which to divide, if that is more than the present ones
-- ARGV[6]  the share that the node uses: nodes
-- ARGV[7]  and rank
-- ARGV[8]  incarnations that have ended, each followed by a space
-- reply    the number of nodes, the granted share (nodes, rank), the incarnations of the other nodes

local key, node, keep, action, incarnation = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local uses = { tonumber(ARGV[6]), tonumber(ARGV[7]) }
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number)
  return string.format('%.0f', number)
end

redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. text(now - keep))
-- A heartbeat in the future was recorded by a server whose clock was ahead. The next one replaces it.
redis.call('ZREMRANGEBYSCORE', key, '(' .. text(now), '+inf')

-- The records of the other nodes, without this node's own and those that it replaces.
local others, names, incarnations, is_taken, is_known = {}, {}, {}, false, false
for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
  local name, other, rest = string.match(member, '^(%S+) (%S+) (.*)$')
  local is_own = other == incarnation or (name == node and action == 'join')
  local has_ended = other and string.find(' ' .. ARGV[8], ' ' .. other .. ' ', 1, true)
  is_known = is_known or other == incarnation
  if is_own or has_ended then
    redis.call('ZREM', key, member)
  else
    is_taken = is_taken or name == node
    local shares = {}
    for nodes, rank in string.gmatch(rest or '', '(%d+) (%d+)') do
      shares[#shares + 1] = { tonumber(nodes), tonumber(rank) }
    end
    names[#names + 1] = name or member
    incarnations[#incarnations + 1] = other
    others[#others + 1] = shares
  end
end
-- Another node of this name is alive.
local name = is_taken and node .. '#' .. incarnation or node
if action == 'leave' then
  return { #others }
end

-- Without a record its share may be another's by now.
if not is_known then
  uses = { 0, 0 }
end

-- What the other nodes leave free, and the number by which they divide if one has a part of a remainder.
local free, remainder_of, same, taken = 1, nil, true, {}
local rank, nodes = 0, #others + 1
local wanted = math.max(nodes, tonumber(ARGV[5]))
for at, shares in ipairs(others) do
  local most = 0
  for _, share in ipairs(shares) do
    if share[1] > 0 then
      most = math.max(most, 1 / share[1])
    end
    same = same and share[1] == wanted
    if share[2] < share[1] then
      remainder_of = share[1]
      taken[share[2]] = true
    end
  end
  same = same and #shares > 0
  free = free - most
  rank = rank + (names[at] < name and 1 or 0)
end

-- A share that shrinks does so in any case. One that grows needs to fit, within the precision of the sum.
local grant, epsilon = wanted, 1e-9
if uses[1] == 0 or wanted < uses[1] then
  local fits = 1 / wanted <= free + epsilon
  if remainder_of and (not fits or remainder_of ~= wanted) then
    grant = uses[1]
  elseif not fits then
    local rest = free > epsilon and math.ceil(1 / free - epsilon) or 0
    grant = (uses[1] == 0 or (rest > 0 and rest < uses[1])) and rest or uses[1]
  end
end
-- A part of a remainder that would keep the others from growing is given up.
local part = grant
if grant == wanted and same then
  if nodes == wanted and not taken[rank] then
    part = rank
  elseif grant == uses[1] and uses[2] < uses[1] and not taken[uses[2]] then
    part = uses[2]
  end
end

local record = { name, incarnation, text(uses[1]), text(uses[2]) }
if grant ~= uses[1] or part ~= uses[2] then
  record[5], record[6] = text(grant), text(part)
end
redis.call('ZADD', key, text(now), table.concat(record, ' '))
redis.call('PEXPIRE', key, text(keep))
return { nodes, grant, part, incarnations }
