-- Takes a step for all nodes, unless another node took it before.
--
-- KEYS[1]  and KEYS[2]: what is agreed, and what the step is about, as in meet.lua
-- ARGV[1]  the epoch that the step goes out from, and ARGV[2] the one that it leads to
-- ARGV[3]  the window of the step
-- ARGV[4]  the record of it
-- ARGV[5]  how long this is kept, in milliseconds
-- Reply    1 where it was taken, else 0; the epoch now; the record now
--
-- A script: it compares before it sets.

local agreed, closed = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', agreed, 'epoch') or '0'
if epoch ~= ARGV[1] or redis.call('HGET', closed, 'window') ~= ARGV[3] then
  return { 0, epoch, redis.call('HGET', agreed, 'record') or '' }
end
redis.call('HSET', agreed, 'epoch', ARGV[2], 'window', ARGV[3], 'record', ARGV[4])
redis.call('PEXPIRE', agreed, ARGV[5])
redis.call('DEL', closed)
return { 1, ARGV[2], ARGV[4] }
