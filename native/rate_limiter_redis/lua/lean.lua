-- Decides what nearly all calls are: each takes its cost from one token bucket or fixed window of an id of its own, and
-- nothing else. `head.lua` and the files beside it decide all others, and are the measure: this script answers and writes
-- as they do, or leaves a call to them.
--
-- Why a script of its own: decisions by tables of functions cost the server twice what a plain limiter's script does.
-- Here a check runs MGET and SET, and calls no function of Lua's that it does not need.
--
-- KEYS    one for each call, all different
-- ARGV    binary, big-endian, written by `wire/lean.rs`; consecutive calls of one limit and cost share an argument:
--           slack in ms, number of calls, now in microseconds since 1970 (0: the server's clock), cost, then the meter
--           as in `token_bucket.lua` or `fixed_window.lua`
-- reply   one string: now (7 bytes), then for each call a byte and the state of its key (see the files of the meters).
--         The byte is the size of the state; 128 more for a denial; 255 for a call that is left to the other script,
--         and has changed nothing: its key holds a state of another limit, states of several, one written by a clock
--         that was ahead, or a value of another program.
--
-- Writes while it reads on, unlike the other script: the first write is refused, or none is. What is between them cannot
-- fail, whatever the bytes of a value are.

local unpacked, packed, format, ceil = struct.unpack, struct.pack, string.format, math.ceil
local call = redis.call

local HEAD, HEAD_SIZE, BUCKET = '>I4HI7I7B', 21, 1
local SHORT, NARROW, WIDE = '>I3I6I3', '>BI7I6I6', '>BI7I7I7'
local LEFT = '\255'
local LOW, NARROW_END, MOST, LAST = 2 ^ 24, 2 ^ 48, 2 ^ 52, 2 ^ 53

local values = call('MGET', unpack(KEYS))
local reply, size, place, last, clock = { '' }, 1, 0, 0, nil

for number = 1, #ARGV do
  local slack, count, now, cost, kind = unpacked(HEAD, ARGV[number])
  if now == 0 then
    if not clock then
      local time = call('TIME')
      clock = time[1] * 1000000 + time[2]
    end
    now = clock
  end
  reply[1] = packed('>I7', now)

  -- Of a bucket:
  local unit, interval, capacity, cell, taken, ticks, grain, share, since
  -- Of a window:
  local per, most, mark, present
  if kind == BUCKET then
    local price, bits
    unit, interval, price, capacity, cell, bits = unpacked('>BI7I7I7I3B', ARGV[number], HEAD_SIZE + 1)
    ticks = unit < 192 and 1000 * 2 ^ (unit - 128) or 2 ^ (unit - 192)
    grain = 2 ^ bits
    share, since, taken = grain / 16, now % grain, cost * price
  else
    local aligned
    per, aligned, most = unpacked('>I7BI7', ARGV[number], HEAD_SIZE + 1)
    mark, present = 7 - aligned, now - aligned * (now % per)
  end

  last = last + count
  while place < last do
    place = place + 1
    local value = values[place]
    local is_ours, byte, state, life = not value, LEFT, nil, nil

    if kind == BUCKET then
      local debt = 0
      if value then
        local written
        if #value == 12 then
          local its_cell, high, low = unpacked(SHORT, value)
          if its_cell == cell and cell > 0 then
            local owed = high % share
            written, debt = (high - owed) / share * grain, owed * LOW + low
          end
        elseif #value == 20 or #value == 22 then
          local its_unit, its_moment, its_debt, its_interval = unpacked(#value == 20 and NARROW or WIDE, value)
          if its_unit == unit and its_interval == interval and its_debt <= MOST then
            written, debt = its_moment, its_debt
          end
        end
        is_ours = written and written <= now and debt <= LAST
        if is_ours then
          debt = debt - (now - written) * ticks
          if debt < 0 then
            debt = 0
          end
        end
      end
      if is_ours and debt + taken <= capacity then
        debt = debt + taken
        life = debt / ticks
        local shown = debt + since * 1000
        if cell > 0 and shown < grain * 2 ^ 20 then
          local low = shown % LOW
          byte, state = '\12', packed(SHORT, cell, (now - since) / 16 + (shown - low) / LOW, low)
        elseif debt < NARROW_END and interval < NARROW_END then
          byte, state = '\20', packed(NARROW, unit, now, debt, interval)
        else
          byte, state = '\22', packed(WIDE, unit, now, debt, interval)
        end
      end
    else
      local start, used = present, 0
      if value and #value == 22 then
        local its_mark, its_start, its_per, its_used = unpacked(WIDE, value)
        is_ours = its_mark == mark and its_per == per and its_start <= now and its_used >= 1 and its_used <= MOST
        if is_ours and now < its_start + per then
          start, used = its_start, its_used
        end
      end
      if is_ours and used + cost <= most then
        byte, state, life = '\22', packed(WIDE, mark, start, per, used + cost), start + per - now
      end
    end

    if state then
      life = format('%d', ceil(life / 1000) + slack)
      -- MGET returns nil for a key of another type, too, which NX leaves as it is.
      if value then
        call('SET', KEYS[place], state, 'PX', life)
      elseif not call('SET', KEYS[place], state, 'PX', life, 'NX') then
        byte = LEFT
      end
    elseif is_ours and value then
      byte, state = packed('B', 128 + #value), value
    elseif is_ours and call('EXISTS', KEYS[place]) == 0 then
      byte, state = '\128', ''
    end

    size = size + 1
    reply[size] = byte
    if byte ~= LEFT then
      size = size + 1
      reply[size] = state
    end
  end
end
return table.concat(reply)
