-- The strict sliding window. A part of the script that `head.lua` describes.
--
-- state   the count of each sub-window by age, the present one first
-- value   bytes per count (1 to 4; plus 4 if the number of the newest sub-window has 5 bytes instead of 7), number of
--         sub-windows, width, number of the newest sub-window with a count, the counts from that one back, without the
--         zeros at the end
-- meter   kind, width, number of sub-windows, limit at this scale
--
-- A width is in microseconds: 28 bits, times a power of ten in 4 bits.
local function sliding_window()
  local byte, char, rep = string.byte, string.char, string.rep
  local LONG, LONG_SIZE = '>BBI4I7', 13
  local SHORT, SHORT_SIZE, SHORT_END = '>BBI4I5', 11, 2 ^ 40
  local METER, KIND = '>BI4HI7', 2
  local MOST = 2 ^ 32 - 1
  local MOST_SUB_WINDOWS = 255

  local function width_of(cell)
    local mantissa = cell % 2 ^ 28
    return mantissa * 10 ^ ((cell - mantissa) / 2 ^ 28)
  end

  local function counts_of(value, head, size)
    if size == 1 then
      return { byte(value, head + 1, -1) }
    end
    local count = (#value - head) / size
    local counts = { unpacked('>' .. rep('I' .. size, count), value, head + 1) }
    -- The last result of `unpacked` is the position after it.
    counts[count + 1] = nil
    return counts
  end

  -- Adds to sub-window `number`, or to the present one if that lies in the future. Ignores expired sub-windows.
  local function add(meter, state, number, count)
    local place = max(meter.number - number, 0) + 1
    if place <= meter.kept then
      for empty = #state + 1, place do
        state[empty] = 0
      end
      state[place] = min(state[place] + count, MOST)
    end
  end

  -- Adds each count of a state to the latest sub-window of `meter` in which it can have been used.
  local function add_all(meter, state, counts, newest, width)
    for place, count in ipairs(counts) do
      local last = (newest - place + 2) * width - 1
      add(meter, state, floor(min(last, now) / meter.width), count)
    end
    return state
  end

  local kind = { number = KIND, meter_size = 14, name_size = 7 }

  function kind.meter(argument)
    local _, cell, sub_windows, most = unpacked(METER, argument)
    local width = width_of(cell)
    local number = floor(now / width)
    return { kind = kind, cell = cell, width = width, kept = sub_windows + 1, most = most, number = number }
  end

  function kind.meter_of(value)
    if #value < 6 then
      return nil
    end
    local _, sub_windows, cell = unpacked('>BBI4', value)
    return packed(METER, KIND, cell, sub_windows, 0)
  end

  function kind.is_bounded(meter)
    return meter.width >= 1 and meter.kept > 1 and meter.kept <= MOST_SUB_WINDOWS + 1
  end

  function kind.span(meter)
    return meter.width * meter.kept
  end

  function kind.most(meter)
    return meter.most
  end

  function kind.used(state)
    local used = 0
    for place = 1, #state do
      used = used + state[place]
    end
    return used
  end

  function kind.amount(_, used)
    return used
  end

  function kind.read(meter, value)
    if not value then
      return {}, false
    end
    local size = byte(value) or 0
    local head = size > 4 and SHORT_SIZE or LONG_SIZE
    if size < 1 or size > 8 or #value <= head then
      return nil
    end
    local _, sub_windows, cell, newest = unpacked(size > 4 and SHORT or LONG, value)
    size = size > 4 and size - 4 or size
    local count = (#value - head) / size
    -- No sub-window lies before 1970.
    local most = min(sub_windows, newest) + 1
    if count % 1 ~= 0 or count > most or cell ~= meter.cell or sub_windows + 1 ~= meter.kept then
      return nil
    end
    if newest * meter.width > LAST then
      return nil
    end
    local age = meter.number - newest
    if age > sub_windows then
      return {}, false
    end
    local counts = counts_of(value, head, size)
    if age == 0 then
      return counts, false
    end
    local state = {}
    if age < 0 then
      return add_all(meter, state, counts, newest, meter.width), true
    end
    for place = 1, age do
      state[place] = 0
    end
    for place = 1, min(#counts, meter.kept - age) do
      state[age + place] = counts[place]
    end
    return state, false
  end

  function kind.converted(state, from, to)
    return add_all(to, {}, state, from.number, from.width)
  end

  function kind.grown(_, state, amount)
    state[1] = min((state[1] or 0) + amount, MOST)
    return state
  end

  function kind.bounded(_, state)
    return state
  end

  function kind.charge(meter, state, least, taken)
    local lacks = {}
    for _, charge in ipairs(least) do
      add(meter, lacks, charge[1], charge[2])
    end
    for place, count in ipairs(lacks) do
      add(meter, state, meter.number - place + 1, max(count - (state[place] or 0), 0))
    end
    for _, charge in ipairs(taken) do
      add(meter, state, charge[1], charge[2])
    end
    return state
  end

  function kind.fits(meter, state, cost)
    for place = 1, #state do
      cost = cost + state[place]
    end
    return cost <= meter.most
  end

  function kind.take(_, state, cost)
    state[1] = (state[1] or 0) + cost
    return state
  end

  function kind.refund(_, state, cost)
    for place = #state, 1, -1 do
      local back = min(state[place], cost)
      state[place], cost = state[place] - back, cost - back
    end
    return state
  end

  function kind.give_back(meter, state, moment, _, cost)
    local place = meter.number - floor(moment / meter.width) + 1
    if state[place] then
      state[place] = max(state[place] - cost, 0)
    end
    return state
  end

  function kind.write(meter, state)
    local first, last, most = nil, 0, 0
    for place = 1, #state do
      local count = state[place]
      if count > 0 then
        first, last, most = first or place, place, max(most, count)
      end
    end
    if not first then
      return false, 0
    end
    local size = most < 256 and 1 or most < 65536 and 2 or most < 16777216 and 3 or 4
    local newest = meter.number - first + 1
    local counts
    if size == 1 then
      counts = char(unpack(state, first, last))
    else
      counts = packed('>' .. rep('I' .. size, last - first + 1), unpack(state, first, last))
    end
    local ends = (newest + meter.kept) * meter.width
    local short = newest < SHORT_END
    local head = packed(short and SHORT or LONG, short and size + 4 or size, meter.kept - 1, meter.cell, newest)
    return head .. counts, ceil((ends - now) / 1000)
  end

  return kind
end

