-- Decides many calls, in their order, each of them all or nothing over its windows.
--
-- Why a script: a decision reads, reckons and writes, and nobody may come in between; the server's own clock counts,
-- which only the server can read at that moment; and thirty calls in one run cost it less than half of thirty runs.
--
-- A script isolates, but does not roll back. So everything is read and decided first, and written last: the first
-- write is refused (OOM, READONLY, NOPERM) before anything has been written, or all of them are done.
--
-- KEYS    for each call: one of each window, then that of its request id, if it has one. May repeat.
-- ARGV    binary, big-endian. `wire.rs` writes it:
--   1     slack in ms, now in microseconds since 1970 (0: the server's clock), number of meters, 1 if KEYS repeat
--   ...   the meters: kind, then what the kind's file says. One is a limit at a scale.
--   ...   the calls, those in a row that ask the same only once:
--           operation, how many, cost, what follows, number of windows, the meter of each window
--           what follows: 1: how long the request id is kept, in ms, where something is taken; 2: after this, an
--           argument for each window: what it is charged first, as two lists of (when, how much): at least, and on
--           top; or nothing
-- reply   an array: now; a letter for each call, in one string; then for each window of each call its state, as it is
--         stored now: nil if it has none, 0 if its key holds something that is none. What remains, and when to come
--         again, follows from the state: the caller reckons it, where it costs the server nothing.
--           A allowed (or done, if it was no question)   D denied
--           R repeated: its request id was admitted before, nothing is taken   X a key holds something else
--
-- A key's value is its whole state, absolute, and says under which limit it was written. It is written with PX, in the
-- same call. No use lies in the future: what was written by a clock that was ahead counts as of now.
-- Numbers are whole, and at most 2^53.

local unpacked, packed = struct.unpack, struct.pack
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local call = redis.call

local slack, now, meter_count, repeats = unpacked('>I4I7HB', ARGV[1])
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

