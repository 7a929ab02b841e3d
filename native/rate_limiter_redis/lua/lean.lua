-- Decides what nearly all calls are: each takes its cost from one token bucket of an id of its own, and nothing else.
-- `head.lua` and the files beside it decide all others, and are the measure: this script answers and writes as they
-- do, or leaves a call to them.
--
-- Why a script of its own: decisions by tables of functions cost the server twice what a plain limiter's script does.
-- Here a check runs MGET and SET, and calls no function of Lua's that it does not need.
--
-- KEYS    one for each call, all different
-- ARGV    binary, big-endian, written by `wire/lean.rs`; consecutive calls of one limit and cost share an argument:
--           slack in ms, number of calls, now in microseconds since 1970 (0: the server's clock), cost, then the meter
--           as in `token_bucket.lua`, without its kind
-- reply   one string: now (7 bytes), then for each call a byte and the state of its bucket (see `token_bucket.lua`).
--         The byte is the size of the state; 128 more for a denial; 255 for a call that is left to the other script,
--         and has changed nothing: its key holds a state of another limit, states of several, one written by a clock
--         that was ahead, or a value of another program.
--
-- Writes while it reads on, unlike the other script: the first write is refused, or none is. What is between them cannot
-- fail, whatever the bytes of a value are.

local unpacked, packed, format, ceil = struct.unpack, struct.pack, string.format, math.ceil
local call = redis.call

local SHORT, NARROW, WIDE = '>I3I6I3', '>BI7I6I6', '>BI7I7I7'
local LEFT = '\255'
local LOW, NARROW_END, MOST, LAST, NEVER = 2 ^ 24, 2 ^ 48, 2 ^ 52, 2 ^ 53, 2 ^ 54

local values = call('MGET', unpack(KEYS))
local reply, size, place, last, clock = { '' }, 1, 0, 0, nil

for number = 1, #ARGV do
  local slack, count, now, cost, unit, interval, price, bucket, cell, bits =
    unpacked('>I4HI7I7BI7I7I7I3B', ARGV[number])
  if now == 0 then
    if not clock then
      local time = call('TIME')
      clock = time[1] * 1000000 + time[2]
    end
    now = clock
  end
  reply[1] = packed('>I7', now)
  local ticks = unit < 192 and 1000 * 2 ^ (unit - 128) or 2 ^ (unit - 192)
  local grain = 2 ^ bits
  local share, since = grain / 16, now % grain
  local taken = cost * price

  last = last + count
  while place < last do
    place = place + 1
    local value, debt, elapsed = values[place], 0, 0
    if value then
      local written = NEVER
      if #value == 12 then
        local its_cell, high, low = unpacked(SHORT, value)
        if its_cell == cell and cell > 0 then
          local owed = high % share
          written, debt = (high - owed) / share * grain, owed * LOW + low
          if debt > LAST then
            written = NEVER
          end
        end
      elseif #value == 20 or #value == 22 then
        local its_unit, its_moment, its_debt, its_interval = unpacked(#value == 20 and NARROW or WIDE, value)
        if its_unit == unit and its_interval == interval and its_debt <= MOST then
          written, debt = its_moment, its_debt
        end
      end
      elapsed = now - written
      debt = debt - elapsed * ticks
      if debt < 0 then
        debt = 0
      end
    end

    local byte = LEFT
    if elapsed >= 0 and debt + taken <= bucket then
      debt = debt + taken
      local life, state = format('%d', ceil(debt / ticks / 1000) + slack), nil
      local shown = debt + since * 1000
      if cell > 0 and shown < grain * 2 ^ 20 then
        local low = shown % LOW
        byte, state = '\12', packed(SHORT, cell, (now - since) / 16 + (shown - low) / LOW, low)
      elseif debt < NARROW_END and interval < NARROW_END then
        byte, state = '\20', packed(NARROW, unit, now, debt, interval)
      else
        byte, state = '\22', packed(WIDE, unit, now, debt, interval)
      end
      -- MGET returns nil for a key of another type, too, which NX leaves as it is.
      if value then
        call('SET', KEYS[place], state, 'PX', life)
      elseif not call('SET', KEYS[place], state, 'PX', life, 'NX') then
        byte = LEFT
      end
      value = state
    elseif elapsed >= 0 and value then
      byte = packed('B', 128 + #value)
    elseif elapsed >= 0 and call('EXISTS', KEYS[place]) == 0 then
      byte, value = '\128', ''
    end

    size = size + 1
    reply[size] = byte
    if byte ~= LEFT then
      size = size + 1
      reply[size] = value
    end
  end
end
return table.concat(reply)
