-- Resets a limiter: from now on its ids have other keys.
--
-- KEYS[1]  hash "limits", as in meet.lua
-- ARGV[1]  the name of the limiter
-- Reply    the time of the reset in microseconds, later than that of any before
--
-- A script, because it uses the server's clock, which may have been set back.

local field = 'reset ' .. ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local before = tonumber(redis.call('HGET', KEYS[1], field) or '0') or 0
local at = string.format('%.0f', math.max(now, before + 1))
redis.call('HSET', KEYS[1], field, at)
return at
