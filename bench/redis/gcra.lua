-- The peer: one check of a token bucket, one EVALSHA, as a plainly written limiter on Redis does it.
--
-- KEYS[1]  the bucket
-- ARGV[1]  microseconds from one token to the next
-- ARGV[2]  tokens that it holds
-- Reply    {1 if allowed else 0, tokens left, microseconds until it can be allowed}

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local capacity = interval * tonumber(ARGV[2])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local new = tat + interval

if new - capacity > now then
  return {0, 0, new - capacity - now}
end

redis.call('SET', KEYS[1], string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000))
return {1, math.floor((capacity - (new - now)) / interval), 0}
