-- Keys that nodes judge by several limits, as during a deployment. A part of the script that `head.lua` describes.
--
-- Such a key has one state for each limit, since a state holds what its own limit needs and no more: one of a short
-- period has dropped what a longer period still counts. All calls change all states; each is judged by that of its own
-- limit. A limit that is new to the key begins with what the limit of the call before it counts.
--
-- A limit without a call for an hour, and for as long as its usage counts, is forgotten. So is the one whose usage
-- counts shortest, if there are more than four. Then, and when nothing counts as used, a key has one state again.
--
-- state   own: the state of the call's limit; others: meter, state and the time of the last call of each other limit;
--         most: the largest amount that any of the limits admits at once
-- value   255, most, then for each limit, that of the last call first: meter, time of its last call, length of its
--         state, the state as if it was alone, empty if nothing is used
local with_others
do
  local MARK, HEAD, HEAD_SIZE = 255, '>BI7', 8
  local ENTRY, ENTRY_SIZE = '>I7I4', 11
  local MOST_LIMITS = 4
  local HOUR = 3600 * 1000000

  -- Completes a meter: its name is the part of a limit on which its states depend, and the last one is how long it is
  -- remembered without a call.
  local function named(meter, argument)
    meter.argument, meter.name = argument, argument:sub(1, meter.kind.name_size)
    meter.remembered = max(HOUR, meter.kind.span(meter))
    return meter
  end

  -- Returns the meter of a limit in a value; nil if it is out of bounds.
  local function meter_in(kind, argument)
    local meter = kind.known[argument]
    if meter == nil then
      meter = argument:byte() == kind.number and kind.meter(argument)
      meter = meter and kind.is_bounded(meter) and named(meter, argument)
      kind.known[argument] = meter
    end
    return meter
  end

  -- Returns the states in a value, that of the last call first, and the largest amount; nil if a part is out of bounds.
  local function states_of(kind, value)
    if value:byte() ~= MARK then
      local argument = kind.meter_of(value)
      local meter = argument and meter_in(kind, argument)
      local state = meter and kind.read(meter, value)
      if not state then
        return nil
      end
      return { { meter = meter, state = state, seen = now } }, kind.amount(meter, kind.used(state))
    end
    if #value < HEAD_SIZE then
      return nil
    end
    local states, size = {}, #value
    local _, most, at = unpacked(HEAD, value)
    while at <= size do
      local from = at + kind.meter_size
      if #states == MOST_LIMITS or from + ENTRY_SIZE - 1 > size then
        return nil
      end
      local seen, length, start = unpacked(ENTRY, value, from)
      at = start + length
      local meter = at <= size + 1 and meter_in(kind, value:sub(from - kind.meter_size, from - 1))
      local state = meter and kind.read(meter, length > 0 and value:sub(start, at - 1))
      if not state then
        return nil
      end
      states[#states + 1] = { meter = meter, state = state, seen = min(seen, now) }
    end
    return states[1] and states, most
  end

  local function make(kind)
    local several = {}

    function several.read(meter, value)
      local own, all, most = meter.own, states_of(kind, value)
      if not all then
        return nil
      end
      local state, others, used = nil, {}, false
      for _, other in ipairs(all) do
        used = used or kind.used(other.state) > 0
        if other.meter.name == own.name then
          state = other
        elseif other.seen + other.meter.remembered > now then
          others[#others + 1] = other
        end
      end
      if not used then
        return { own = kind.read(own, false), others = {}, most = 0 }, false
      end
      most = max(most, kind.most(own))
      if state then
        -- What others have admitted beyond the largest amount would only lock out the callers of this limit.
        local bounded = kind.bounded(own, state.state, most)
        return { own = bounded, others = others, most = most }, now - state.seen > own.remembered / 2
      end
      if #others == MOST_LIMITS then
        local shortest = 1
        for place, other in ipairs(others) do
          if kind.span(other.meter) < kind.span(others[shortest].meter) then
            shortest = place
          end
        end
        table.remove(others, shortest)
      end
      return { own = kind.converted(all[1].state, all[1].meter, own), others = others, most = most }, true
    end

    -- Adds to the other states what was added to the own one.
    local function grow_others(meter, state, before)
      local amount = kind.used(state.own) - before
      if amount > 0 then
        for _, other in ipairs(state.others) do
          other.state = kind.grown(other.meter, other.state, amount, meter.own, state.most)
        end
      end
      return state
    end

    function several.charge(meter, state, least, taken)
      local before = kind.used(state.own)
      state.own = kind.charge(meter.own, state.own, least, taken)
      return grow_others(meter, state, before)
    end

    function several.fits(meter, state, cost)
      return kind.fits(meter.own, state.own, cost)
    end

    function several.take(meter, state, cost)
      local before = kind.used(state.own)
      state.own = kind.take(meter.own, state.own, cost)
      return grow_others(meter, state, before)
    end

    function several.refund(meter, state, cost)
      state.own = kind.refund(meter.own, state.own, cost)
      for _, other in ipairs(state.others) do
        other.state = kind.refund(other.meter, other.state, cost)
      end
      return state
    end

    function several.give_back(meter, state, moment, left, cost)
      state.own = kind.give_back(meter.own, state.own, moment, left, cost)
      for _, other in ipairs(state.others) do
        other.state = kind.give_back(other.meter, other.state, moment, left, cost)
      end
      return state
    end

    function several.write(meter, state)
      local value, life = kind.write(meter.own, state.own)
      if #state.others == 0 then
        return value, life
      end
      local used, text = value, value or ''
      local whole = packed(HEAD, MARK, state.most) .. meter.own.argument .. packed(ENTRY, now, #text) .. text
      for _, other in ipairs(state.others) do
        local other_value, lasts = kind.write(other.meter, other.state)
        used, text = used or other_value, other_value or ''
        whole = whole .. other.meter.argument .. packed(ENTRY, other.seen, #text) .. text
        life = max(life, min(lasts, ceil((other.seen + other.meter.remembered - now) / 1000)))
      end
      return used and whole, life
    end

    return several
  end

  -- Returns a meter that judges by this one, and counts for the other limits of a key as well.
  function with_others(meter)
    local kind = meter.kind
    if not kind.several then
      kind.several, kind.known = make(kind), {}
    end
    if not meter.several then
      meter.several = { kind = kind.several, own = named(meter, meter.argument) }
    end
    return meter.several
  end
end

