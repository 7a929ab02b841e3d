-- The fixed window. A part of the script that `head.lua` describes.
--
-- state   the start and the count of the present window; without usage, of one that starts now
-- value   6, start, period, count
-- meter   kind, period, 1 if windows start at multiples of the period since 1970, limit at this scale
local function fixed_window()
  local MARK, VALUE = 6, '>BI7I7I7'
  local MOST = 2 ^ 52

  local function start_of(meter, moment)
    return meter.aligned and moment - moment % meter.per or moment
  end

  local function blank(meter)
    return { start_of(meter, now), 0 }
  end

  local kind = {}

  function kind.meter(argument)
    local _, per, aligned, most = unpacked('>BI7BI7', argument)
    return { kind = kind, per = per, aligned = aligned == 1, most = most }
  end

  function kind.read(meter, value)
    if not value then
      return blank(meter), false
    end
    if #value ~= 22 then
      return nil
    end
    local mark, start, per, count = unpacked(VALUE, value)
    if mark ~= MARK or start > LAST or per < 1 or per > LAST or count < 1 or count > MOST then
      return nil
    end
    if now >= start + per then
      return blank(meter), false
    end
    if per == meter.per and start <= now then
      return { start, count }, false
    end
    -- Written with another period, or by a clock that was ahead: its count stays used.
    if start > now or meter.aligned then
      start = start_of(meter, now)
    end
    if now >= start + meter.per then
      return blank(meter), true
    end
    return { start, count }, true
  end

  function kind.charge(meter, state, least, taken)
    for _, charge in ipairs(least) do
      local start, count = min(charge[1], now), charge[2]
      if now < start + meter.per and count > 0 then
        if state[2] > 0 and start < state[1] then
          -- The present window started because an earlier one was lost: its usage belongs to the earlier one.
          state = { start, min(state[2] + count, MOST) }
        else
          state = { state[2] > 0 and state[1] or start, max(state[2], count) }
        end
      end
    end
    for _, charge in ipairs(taken) do
      local start, count = min(charge[1], now), charge[2]
      if now < start + meter.per and count > 0 then
        state = { state[2] > 0 and state[1] or start, min(state[2] + count, MOST) }
      end
    end
    return state
  end

  function kind.fits(meter, state, cost)
    return state[2] + cost <= meter.most
  end

  function kind.take(_, state, cost)
    state[2] = state[2] + cost
    return state
  end

  function kind.refund(_, state, cost)
    state[2] = max(state[2] - cost, 0)
    return state
  end

  function kind.write(meter, state)
    if state[2] == 0 then
      return false, 0
    end
    return packed(VALUE, MARK, state[1], meter.per, state[2]), ceil((state[1] + meter.per - now) / 1000)
  end

  return kind
end

