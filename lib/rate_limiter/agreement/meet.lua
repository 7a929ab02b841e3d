-- A node brings what it saw of a subsystem, and hears what the nodes agreed on, and whether it is time for a step.
--
-- KEYS[1]  a hash: each node, by the window in which it was heard last and what it says of itself, "window words"
-- KEYS[2]  a hash, what is agreed: "epoch" counts the steps, "window" is the last one that was stepped, "record"
-- KEYS[3]  a hash, what was brought and awaits its window's end: counts by name; "window", when it was opened; "since"
-- KEYS[4]  a hash, what the step under way is about: counts by name; "window"; "since" and "until", its span of time
-- ARGV[1]  the time in milliseconds, for tests; 0 for the server's
-- ARGV[2]  how long a window is, in milliseconds
-- ARGV[3]  how long all this is kept, in milliseconds
-- ARGV[4]  the node, and ARGV[5] what it says of itself
-- ARGV[6]  the epoch that it knows
-- ARGV[7]  "urgent" where the present window's step cannot wait for its end
-- ARGV[8]  for how many milliseconds it counted
-- ARGV[9]  and on: names and counts
-- Reply    the time; the window; the window to step, or -1; 1 where nobody has stepped for some windows; the epoch; the
--          record, if the node needs it; the nodes that are there; the counts to step with
--
-- A script, since it goes by the server's clock, and since each count must be in one step and no more.

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

-- Who is silent for two windows has gone. One that was heard in the future was heard by a server whose clock was ahead.
redis.call('HSET', nodes, ARGV[4], text(window) .. ' ' .. ARGV[5])
local there, all = {}, redis.call('HGETALL', nodes)
for at = 1, #all, 2 do
  local heard = tonumber(string.match(all[at + 1], '^%d+'))
  if heard and heard <= window and heard >= window - 2 then
    there[#there + 1] = all[at]
    there[#there + 1] = string.match(all[at + 1], '^%d+ (.*)$')
  else
    redis.call('HDEL', nodes, all[at])
  end
end
redis.call('PEXPIRE', nodes, keep)

local stepped = number(agreed, 'window') or -1
if stepped > window then
  stepped = window - 1
  redis.call('HSET', agreed, 'window', text(stepped))
end

-- What was brought before a long silence tells nothing of now.
local silent = stepped < window - 3
local opened = number(open, 'window')
if opened and (opened > window or (silent and opened < window - 3)) then
  redis.call('DEL', open)
  opened = nil
end
if not opened then
  opened = window
  redis.call('HSET', open, 'window', text(window), 'since', text(now - tonumber(ARGV[8])))
end
for at = 9, #ARGV, 2 do
  redis.call('HINCRBY', open, ARGV[at], ARGV[at + 1])
end
redis.call('PEXPIRE', open, keep)

-- A step that another node was to take may be under way, or may never come.
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
  -- Another node may be at this window's step already: then it is about the same counts.
  if held ~= target then
    local brought = redis.call('HGETALL', open)
    for at = 1, #brought, 2 do
      if brought[at] == 'since' then
        redis.call('HSETNX', closed, 'since', brought[at + 1])
      elseif brought[at] ~= 'window' then
        redis.call('HINCRBY', closed, brought[at], brought[at + 1])
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
local record = ''
if target >= 0 or epoch ~= ARGV[6] then
  record = redis.call('HGET', agreed, 'record') or ''
end
-- Who takes no step keeps the agreement, too.
redis.call('PEXPIRE', agreed, keep)
return { text(now), text(window), text(target), silent and 1 or 0, epoch, record, there, counts }
