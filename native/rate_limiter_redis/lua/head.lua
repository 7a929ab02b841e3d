-- Decides many calls in order. Each call takes its cost from all its windows, or from none.
--
-- Why a script: a decision reads, calculates and writes, without a write of another client in between; it uses the
-- server's clock at that moment; and one run for thirty calls costs the server less than half of thirty runs.
--
-- A script is isolated, but not rolled back. So it reads and decides everything first, and writes last: either the
-- first write is refused (OOM, READONLY, NOPERM) and nothing is written, or all writes succeed.
--
-- KEYS    for each call: one for each window; for a refund, a reset or a call with one of flags 1, 2 and 4, that of the
--         id's era; then one for its request id, if it has one; then, with a receipt, one for what was given back; then
--         one for each call with a name that it reports. Keys may repeat.
-- ARGV    binary, big-endian, written by `wire.rs`:
--   1     slack in ms, now in microseconds since 1970 (0: the server's clock), number of meters, 1 if KEYS repeat
--   ...   the meters: kind, then the fields that the kind's file lists. A meter is a limit at a scale.
--   ...   the calls; consecutive calls that differ only in their id share one argument:
--           operation, number of calls, cost, flags, number of windows, the meter of each window
--           flag 8: the windows in shadow mode follow as 32 bits, the first one the lowest
--           flag 1: the time to remember the request id once it is admitted, in ms, follows in this argument
--           with an era: the longest time for which a use counts in these windows, in ms, follows
--           with a receipt: the moment and the cost of the call to give back follow
--           flag 4: after those of flag 2, an argument with the calls to charge unless their names are known: for each the
--             time to remember its name, in ms, the moment at which it was admitted, and for each window a list of
--             (moment, amount)
--           flag 2: one more argument for each window, empty or two lists of (moment, amount) to charge before the
--                   call is decided, each after a moment. The first list is a lower bound on the usage, from a reply at its
--                   moment or later; the second is added on top, and was admitted until its moment
-- reply   an array: now; one string with a letter for each call; then for each window of each call its state under the
--         limit of the call: nil if there is none, 0 if the key holds a value of another program; in an array of its own if
--         the call was admitted and took nothing of this window, which would deny it if it was not in shadow mode. The caller calculates
--         what remains and when to retry from the state, which costs the server nothing.
--           A allowed, or done (refund, reset)                           D denied
--           R repeated: its request id was admitted before, takes nothing   X a key holds a value of another program
--
-- A request id's key is for one cost and one choice of windows. Its value is the era in which the call was admitted, and
-- the moment: a refund or a reset begins another era of its id, which ends all request ids and receipts. An era is kept,
-- by a key of its own, for at least as long as its request ids are, and as what was used before it would have counted. It
-- also says when the usage was last lowered, and each window reset: what a node restores or reports from before that
-- does not count. A server that has this has not lost what came before, except by removing single keys.
--
-- A key's value is its whole state in absolute numbers, with the limit under which it was written; if nodes judge it by
-- several limits, one state for each (see `limits.lua`). SET writes it with PX. Usage never lies in the future: usage
-- written by a clock that was ahead counts as of now. All numbers are integers up to 2^53.
--
-- Any program may have written a value. `read` returns nil for one that is out of its bounds: whatever the bytes are,
-- no later step may fail, since an error ends the whole script, with the calls of others. It does not read a whole log,
-- so entries of a forged one may be out of order.

local unpacked, packed = struct.unpack, struct.pack
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local call = redis.call

local LAST = 2 ^ 53

local slack, now, meter_count, repeats = unpacked('>I4I7HB', ARGV[1])
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

