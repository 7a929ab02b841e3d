-- The fixed window. A part of the script that `head.lua` describes.
--
-- state   the start and the count of the present window; without usage, of one that starts now
-- value   6, or 7 if windows start with their first usage; start, period, count
-- meter   kind, period, 1 if windows start at multiples of the period since 1970, limit at this scale
local function fixed_window()
  local ALIGNED, VALUE = 6, '>BI7I7I7'
  local METER, KIND = '>BI7BI7', 4
  local MOST = 2 ^ 52

  local function start_of(meter, moment)
    return meter.aligned and moment - moment % meter.per or moment
  end

  local function blank(meter)
    return { start_of(meter, now), 0 }
  end

  local kind = { number = KIND, meter_size = 16, name_size = 9 }

  function kind.meter(argument)
    local _, per, aligned, most = unpacked(METER, argument)
    local mark = aligned == 1 and ALIGNED or ALIGNED + 1
    return { kind = kind, per = per, aligned = aligned == 1, mark = mark, most = most }
  end

  function kind.meter_of(value)
    if #value ~= 22 then
      return nil
    end
    local mark, _, per = unpacked(VALUE, value)
    return packed(METER, KIND, per, mark == ALIGNED and 1 or 0, 0)
  end

  function kind.is_bounded(meter)
    return meter.per >= 1 and meter.per <= LAST
  end

  function kind.span(meter)
    return meter.per
  end

  function kind.most(meter)
    return meter.most
  end

  function kind.used(state)
    return state[2]
  end

  function kind.amount(_, used)
    return used
  end

  function kind.read(meter, value)
    if not value then
      return blank(meter), false
    end
    if #value ~= 22 then
      return nil
    end
    local mark, start, per, count = unpacked(VALUE, value)
    if mark ~= meter.mark or per ~= meter.per or start > LAST or count < 1 or count > MOST then
      return nil
    end
    if now >= start + per then
      return blank(meter), false
    end
    if start > now then
      -- Written by a clock that was ahead: its count stays used.
      return { start_of(meter, now), count }, true
    end
    return { start, count }, false
  end

  -- The count of the open window stays used in the one that is open now under the other limit.
  function kind.converted(state, from, to)
    local start = to.aligned and from.per ~= to.per and start_of(to, now) or state[1]
    return state[2] > 0 and now < start + to.per and { start, state[2] } or blank(to)
  end

  -- A window that others have filled beyond its limit starts again. Otherwise this limit would admit calls in the windows
  -- of its own and the others in theirs, so together as many as the sum of the limits.
  function kind.grown(meter, state, amount)
    state[2] = min(state[2] + amount, MOST)
    if state[2] > meter.most then
      state[1] = now
    end
    return state
  end

  function kind.bounded(_, state)
    return state
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

  function kind.give_back(_, state, moment, _, cost)
    if moment >= state[1] then
      state[2] = max(state[2] - cost, 0)
    end
    return state
  end

  function kind.write(meter, state)
    if state[2] == 0 then
      return false, 0
    end
    return packed(VALUE, meter.mark, state[1], meter.per, state[2]), ceil((state[1] + meter.per - now) / 1000)
  end

  return kind
end

