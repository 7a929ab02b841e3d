-- Commits a step for all nodes, unless another node has committed one.
--
-- KEYS[1]  hash "agreed" and KEYS[2] hash "closed", as in meet.lua
-- ARGV[1]  the epoch before the step, and ARGV[2] the epoch after it
-- ARGV[3]  the window of the step
-- ARGV[4]  the entry
-- ARGV[5]  expiry in milliseconds
-- Reply    1 if it was committed, else 0; the present epoch; the present entry
--
-- A script, because it compares before it sets.

local agreed, closed = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', agreed, 'epoch') or '0'
if epoch ~= ARGV[1] or redis.call('HGET', closed, 'window') ~= ARGV[3] then
  return { 0, epoch, redis.call('HGET', agreed, 'entry') or '' }
end
redis.call('HSET', agreed, 'epoch', ARGV[2], 'window', ARGV[3], 'entry', ARGV[4])
redis.call('PEXPIRE', agreed, ARGV[5])
redis.call('DEL', closed)
return { 1, ARGV[2], ARGV[4] }
