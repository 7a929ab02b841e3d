-- The token bucket, as GCRA. A part of the script that `head.lua` describes.
--
-- state   the debt in ticks: how far the theoretical arrival time lies ahead
-- value   unit, moment of writing, debt, interval of tokens
-- or      interval of tokens, moment of writing and debt in 12 bytes, since a longer value takes 16 more in the server
-- meter   kind, unit, interval of tokens, that interval at this scale, capacity of the bucket at this scale, the
--         interval in the 12-byte form, bits of a grain
--
-- The unit is the number of ticks in a microsecond: 128 + n for 1000 * 2^n, 192 + n for 2^n.
--
-- In the 12-byte form ticks are nanoseconds. An interval is 20 bits, times a power of ten in 4 bits; 0 if it has no
-- such form. The moment is in grains of 2^bits microseconds, at least two intervals each; the debt is as of the start
-- of the grain, so it includes what has drained since. That leaves room for two thousand tokens.
--
-- The value holds the debt and its moment, not their sum, so that a clock that was set back leaves the debt unchanged.
-- The sum could only be cut to a full bucket, which may be too little after a change of limit.
local function token_bucket()
  local NARROW, WIDE = '>BI7I6I6', '>BI7I7I7'
  local NARROW_END = 2 ^ 48
  local MOST = 2 ^ 52
  local SHORT, LOW, CELL = '>I3I6I3', 2 ^ 24, 2 ^ 20
  local METER, KIND = '>BBI7I7I7I3B', 1
  local MAX_SHIFT = 40

  local function grain_bits(interval)
    local bits = 4
    while 1000 * 2 ^ bits < 2 * interval do
      bits = bits + 1
    end
    return bits
  end

  local function interval_of(cell)
    local mantissa = cell % 2 ^ 20
    return mantissa * 10 ^ ((cell - mantissa) / 2 ^ 20)
  end

  -- Returns the moment of writing and the debt of the 12-byte form.
  local function lengthened(high, low, bits)
    local share = 2 ^ (bits - 4)
    local debt = high % share
    return (high - debt) / share * 2 ^ bits, debt * LOW + low
  end

  local function shortened(meter, debt)
    local grain = 2 ^ meter.bits
    local since = now % grain
    debt = debt + since * 1000
    if debt >= 2 ^ 20 * grain then
      return nil
    end
    local low = debt % LOW
    return packed(SHORT, meter.cell, (now - since) / 16 + (debt - low) / LOW, low)
  end

  local function ticks_of(unit)
    return unit < 192 and 1000 * 2 ^ (unit - 128) or 2 ^ (unit - 192)
  end

  -- Returns a * b / c, rounded up. Long division, since the product may exceed 53 bits; b and c have less than 50.
  local function proportion(a, b, c)
    local quotient, rest = 0, a * b
    if rest < 2 ^ 53 then
      quotient = floor(rest / c)
      rest = rest - quotient * c
    else
      rest = 0
      for bit = 52, 0, -1 do
        local power = 2 ^ bit
        rest = 2 * rest
        if a >= power then
          a, rest = a - power, rest + b
        end
        local more = floor(rest / c)
        quotient, rest = 2 * quotient + more, rest - more * c
      end
    end
    if rest > 0 then
      quotient = quotient + 1
    end
    return min(quotient, MOST)
  end

  local kind = { number = KIND, meter_size = 27, name_size = 9 }

  function kind.meter(argument)
    local _, unit, interval, price, bucket, cell, bits = unpacked(METER, argument)
    return {
      kind = kind,
      unit = unit,
      interval = interval,
      price = price,
      bucket = bucket,
      ticks = ticks_of(unit),
      cell = cell,
      bits = bits,
    }
  end

  function kind.meter_of(value)
    local unit, cell, interval, _ = 128, 0, nil, nil
    if #value == 12 then
      cell = unpacked('>I3', value)
      interval = interval_of(cell)
    elseif #value == 20 then
      unit, _, _, interval = unpacked(NARROW, value)
    elseif #value == 22 then
      unit, _, _, interval = unpacked(WIDE, value)
    end
    return interval
      and interval >= 1
      and interval <= LAST
      and packed(METER, KIND, unit, interval, interval, 0, cell, grain_bits(interval))
  end

  function kind.is_bounded(meter)
    local exists = meter.unit >= 128 and meter.unit % 64 <= MAX_SHIFT
    return exists and meter.interval >= 1 and meter.interval <= LAST and meter.bits <= 60
  end

  function kind.span(meter)
    return max(meter.bucket, meter.interval) / meter.ticks
  end

  function kind.most(meter)
    return ceil(meter.bucket / meter.interval)
  end

  function kind.used(debt)
    return debt
  end

  function kind.amount(meter, debt)
    return ceil(debt / meter.interval)
  end

  function kind.read(meter, value)
    if not value then
      return 0, false
    end
    local unit, written, debt, interval
    if #value == 12 then
      local cell, high, low = unpacked(SHORT, value)
      if cell ~= meter.cell or cell == 0 then
        return nil
      end
      unit, interval = 128, meter.interval
      written, debt = lengthened(high, low, meter.bits)
    elseif #value == 20 then
      unit, written, debt, interval = unpacked(NARROW, value)
    elseif #value == 22 then
      unit, written, debt, interval = unpacked(WIDE, value)
    end
    if unit ~= meter.unit or interval ~= meter.interval or written > LAST then
      return nil
    end
    if debt > (#value == 12 and LAST or MOST) then
      return nil
    end
    local elapsed = now - written
    if elapsed < 0 then
      return debt, true
    end
    return max(debt - elapsed * meter.ticks, 0), false
  end

  function kind.converted(debt, from, to)
    return proportion(debt, to.interval, from.interval)
  end

  function kind.grown(meter, debt, amount, from)
    return min(debt + proportion(amount, meter.interval, from.interval), MOST)
  end

  function kind.bounded(meter, debt, most)
    return min(debt, most * meter.interval)
  end

  function kind.charge(_, debt, least, taken)
    for _, charge in ipairs(least) do
      debt = max(debt, charge[2])
    end
    for _, charge in ipairs(taken) do
      debt = min(debt + charge[2], MOST)
    end
    return debt
  end

  function kind.fits(meter, debt, cost)
    return debt + cost * meter.price <= meter.bucket
  end

  function kind.take(meter, debt, cost)
    return debt + cost * meter.price
  end

  function kind.refund(meter, debt, cost)
    return max(debt - cost * meter.interval, 0)
  end

  -- What has drained since the call counts as its own.
  function kind.give_back(meter, debt, moment, left, cost)
    local counts = left * meter.interval - max(now - moment, 0) * meter.ticks
    return max(debt - max(min(counts, cost * meter.interval), 0), 0)
  end

  function kind.write(meter, debt)
    if debt == 0 then
      return false, 0
    end
    local value = meter.cell > 0 and shortened(meter, debt)
    if not value then
      local narrow = debt < NARROW_END and meter.interval < NARROW_END
      value = packed(narrow and NARROW or WIDE, meter.unit, now, debt, meter.interval)
    end
    return value, ceil(debt / meter.ticks / 1000)
  end

  return kind
end

