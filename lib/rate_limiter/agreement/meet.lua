-- Contributes a node's observation of a subsystem, and returns the agreed step and whether a window is to be stepped.
--
-- KEYS[1]  hash "nodes": for each node "<window> <heartbeat>", the window in which it met last, or until which it may
--          stay away, and its heartbeat
-- KEYS[2]  hash "agreed": "epoch", the number of steps; "window", the last stepped window; "entry", the last step
-- KEYS[3]  hash "open": counters of contributions that wait for the end of their window; "window" in which it was
--          opened; "since"
-- KEYS[4]  hash "closed": counters for the step in progress; "window"; its time span "since" and "until"
-- ARGV[1]  the time in milliseconds, for tests; 0 for the server's time
-- ARGV[2]  length of a window in milliseconds
-- ARGV[3]  expiry of all keys in milliseconds
-- ARGV[4]  the node's id, and ARGV[5] its heartbeat
-- ARGV[6]  the epoch that the node knows
-- ARGV[7]  "urgent" if the present window's step must not wait for its end
-- ARGV[8]  the time span of the contribution in milliseconds
-- ARGV[9]  for how many windows the node may stay away, up to 10
-- ARGV[10] and following: names and values of counters
-- Reply    time; window; window to step, or -1; 1 if no node has stepped for some windows; epoch; the entry, if the
--          node needs it; live nodes with heartbeats; counters for the step
--
-- A script, because it uses the server's clock, and because each counter must be in exactly one step.

local nodes, agreed, open, closed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, span, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local window = math.floor(now / span)
local function text(number)
  return string.format('%.0f', number)
end
local function number(key, field)
  return tonumber(redis.call('HGET', key, field) or nil)
end

-- A node that did not meet for two windows is gone, unless it said so. A window farther in the future is from a server
-- whose clock was ahead.
redis.call('HSET', nodes, ARGV[4], text(window + tonumber(ARGV[9])) .. ' ' .. ARGV[5])
local live, all = {}, redis.call('HGETALL', nodes)
for at = 1, #all, 2 do
  local met = tonumber(string.match(all[at + 1], '^%d+'))
  if met and met <= window + 10 and met >= window - 2 then
    live[#live + 1] = all[at]
    live[#live + 1] = string.match(all[at + 1], '^%d+ (.*)$')
  else
    redis.call('HDEL', nodes, all[at])
  end
end
redis.call('PEXPIRE', nodes, keep)

-- The clock has gone back.
local stepped = number(agreed, 'window') or -1
if stepped > window then
  stepped = window - 1
  redis.call('HSET', agreed, 'window', text(stepped))
end

-- Contributions from before a long pause say nothing about the present.
local stale = stepped < window - 3
local opened = number(open, 'window')
if opened and (opened > window or (stale and opened < window - 3)) then
  redis.call('DEL', open)
  opened = nil
end
if not opened then
  opened = window
  redis.call('HSET', open, 'window', text(window), 'since', text(now - tonumber(ARGV[8])))
end
for at = 10, #ARGV, 2 do
  redis.call('HINCRBY', open, ARGV[at], ARGV[at + 1])
end
redis.call('PEXPIRE', open, keep)

-- Another node's step may be in progress, or may never be committed.
local held = number(closed, 'window')
if held and (held > window or held < window - 4) then
  redis.call('DEL', closed)
  held = nil
end
local target = -1
if stepped < window and (ARGV[7] == 'urgent' or held == window) then
  target = window
elseif stepped < window - 1 and (opened < window or held == window - 1) then
  target = window - 1
end

local counts = {}
if target >= 0 then
  -- If another node's step for this window is in progress, both steps use the same counters.
  if held ~= target then
    local contributed = redis.call('HGETALL', open)
    for at = 1, #contributed, 2 do
      if contributed[at] == 'since' then
        redis.call('HSETNX', closed, 'since', contributed[at + 1])
      elseif contributed[at] ~= 'window' then
        redis.call('HINCRBY', closed, contributed[at], contributed[at + 1])
      end
    end
    redis.call('HSET', closed, 'window', text(target), 'until', text(now))
    redis.call('PEXPIRE', closed, keep)
    redis.call('DEL', open)
    redis.call('HSET', open, 'window', text(window), 'since', text(now))
    redis.call('PEXPIRE', open, keep)
  end
  counts = redis.call('HGETALL', closed)
end

local epoch = redis.call('HGET', agreed, 'epoch') or '0'
local entry = ''
if target >= 0 or epoch ~= ARGV[6] then
  entry = redis.call('HGET', agreed, 'entry') or ''
end
-- Nodes keep the agreement alive also without a step.
redis.call('PEXPIRE', agreed, keep)
return { text(now), text(window), text(target), stale and 1 or 0, epoch, entry, live, counts }
