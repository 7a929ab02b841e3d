-- The sliding log. A part of the script that `head.lua` describes.
--
-- state   the moments of all usage, oldest first
-- value   5, period, sum of all amounts before the first entry, then entries: moment, sum up to and including this one
-- meter   kind, period, limit at this scale
--
-- Entries hold sums instead of amounts, so that a binary search for the cut also finds the remaining usage, however
-- long the log is. Sums wrap around at 2^32: only their differences matter.
local function sliding_log()
  local sub = string.sub
  local MARK, HEAD, HEAD_SIZE = 5, '>BI7I4', 12
  local ENTRY, ENTRY_SIZE = '>I7I4', 11
  local METER, KIND = '>BI7I7', 3
  local WRAP = 2 ^ 32
  -- The most units: as many as any limit at any scale. The oldest of more make no difference, and are dropped.
  local MOST = 2 ^ 16
  local MOST_LIMIT = 10000

  -- A state: entries `first` to `last` of `text`, counted from 0; `base`, the sum before them; `used`, their total.
  local function entry(state, number)
    return unpacked(ENTRY, state.text, state.offset + number * ENTRY_SIZE + 1)
  end

  -- Returns the number of the first entry after a moment.
  local function after(state, moment)
    local from, to = state.first, state.last + 1
    while from < to do
      local middle = floor((from + to) / 2)
      if entry(state, middle) > moment then
        to = middle
      else
        from = middle + 1
      end
    end
    return from
  end

  local function sum_up_to(state, number)
    local _, sum = entry(state, number)
    return sum
  end

  -- Returns the entries between two numbers, inclusive, as text.
  local function cut(state, from, to)
    return sub(state.text, state.offset + from * ENTRY_SIZE + 1, state.offset + (to + 1) * ENTRY_SIZE)
  end

  local function renewed(state, base, text)
    state.base, state.text, state.offset = base, text, 0
    state.first, state.last = 0, #text / ENTRY_SIZE - 1
    return state
  end

  local function blank()
    return { text = '', offset = 0, first = 0, last = -1, base = 0, used = 0 }
  end

  -- Converts a state to a list of (moment, amount), and back.
  local function uses_of(state)
    local uses, before = {}, state.base
    for number = state.first, state.last do
      local moment, sum = entry(state, number)
      uses[#uses + 1] = { moment, (sum - before) % WRAP }
      before = sum
    end
    return uses
  end

  local function state_of(uses)
    local entries, sum, left, first = {}, 0, MOST, #uses + 1
    while first > 1 and left > 0 do
      first = first - 1
      uses[first][2] = min(uses[first][2], left)
      left = left - uses[first][2]
    end
    for number = first, #uses do
      sum = sum + uses[number][2]
      entries[#entries + 1] = packed(ENTRY, uses[number][1], sum)
    end
    local state = renewed(blank(), 0, table.concat(entries))
    state.used = sum
    return state
  end

  -- Merges two lists. `both` combines the amounts of a moment that is in both.
  local function merged(uses, others, both)
    local all, at = {}, 1
    for _, use in ipairs(uses) do
      while others[at] and others[at][1] < use[1] do
        all[#all + 1], at = others[at], at + 1
      end
      if others[at] and others[at][1] == use[1] then
        all[#all + 1], at = { use[1], both(use[2], others[at][2]) }, at + 1
      else
        all[#all + 1] = use
      end
    end
    for rest = at, #others do
      all[#all + 1] = others[rest]
    end
    return all
  end

  -- Returns the part of a charge that still counts. Moments in the future count as of now.
  local function counting(meter, charges)
    local uses = {}
    for _, charge in ipairs(charges) do
      local moment = min(charge[1], now)
      local last = uses[#uses]
      if last and last[1] == moment then
        last[2] = last[2] + charge[2]
      elseif moment + meter.per > now then
        uses[#uses + 1] = { moment, charge[2] }
      end
    end
    return uses
  end

  local function sum(one, other)
    return one + other
  end

  local kind = { number = KIND, meter_size = 15, name_size = 8 }

  function kind.meter(argument)
    local _, per, most = unpacked(METER, argument)
    return { kind = kind, per = per, most = most }
  end

  function kind.meter_of(value)
    if #value < HEAD_SIZE then
      return nil
    end
    local _, per = unpacked(HEAD, value)
    return packed(METER, KIND, per, 0)
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
    return state.used
  end

  function kind.amount(_, used)
    return used
  end

  function kind.read(meter, value)
    if not value then
      return blank(), false
    end
    local count = (#value - HEAD_SIZE) / ENTRY_SIZE
    if count < 1 or count % 1 ~= 0 then
      return nil
    end
    local mark, per, base = unpacked(HEAD, value)
    if mark ~= MARK or per ~= meter.per then
      return nil
    end
    local state = { text = value, offset = HEAD_SIZE, first = 0, last = count - 1, base = base, used = 0 }
    local newest, total = entry(state, state.last)
    local units = (total - base) % WRAP
    if units < count or units > MOST or newest > LAST then
      return nil
    end
    local expired = now - per
    state.first = after(state, expired)
    if newest <= expired or state.first == count then
      return blank(), false
    end
    if state.first > 0 then
      state.base = sum_up_to(state, state.first - 1)
    end
    state.used = (total - state.base) % WRAP
    if state.used < 1 or state.used > MOST then
      return nil
    end
    if newest > now then
      local kept = cut(state, state.first, after(state, now) - 1)
      return renewed(state, state.base, kept .. packed(ENTRY, now, total)), true
    end
    return state, false
  end

  function kind.converted(state, _, to)
    local first, base = after(state, now - to.per), state.base
    if first > state.first then
      base = sum_up_to(state, first - 1)
    end
    local copy = renewed(blank(), base, cut(state, first, state.last))
    copy.used = (state.base + state.used - base) % WRAP
    return copy
  end

  function kind.charge(meter, state, least, taken)
    local uses = merged(uses_of(state), counting(meter, least), max)
    return state_of(merged(uses, counting(meter, taken), sum))
  end

  function kind.fits(meter, state, cost)
    return state.used + cost <= meter.most
  end

  function kind.take(_, state, cost)
    local newest, last = nil, state.last
    if last >= state.first then
      newest = entry(state, last)
    end
    local total = (state.base + state.used + cost) % WRAP
    if newest == now then
      last = last - 1
    end
    state.used = state.used + cost
    return renewed(state, state.base, cut(state, state.first, last) .. packed(ENTRY, now, total))
  end

  -- Keeps as much as any limit of the key admits. A limit that was not asked since is unknown.
  function kind.grown(meter, state, amount, _, most)
    local kept = min(max(most, meter.most > 0 and 0 or MOST_LIMIT), MOST)
    state = kind.take(meter, state, amount)
    return state.used > kept and kind.refund(meter, state, state.used - kept) or state
  end

  function kind.bounded(_, state)
    return state
  end

  -- Removes the oldest usage first.
  function kind.refund(_, state, cost)
    local back = min(cost, state.used)
    local from, to = state.first, state.last + 1
    while from < to do
      local middle = floor((from + to) / 2)
      if (sum_up_to(state, middle) - state.base) % WRAP > back then
        to = middle
      else
        from = middle + 1
      end
    end
    state.used = state.used - back
    return renewed(state, (state.base + back) % WRAP, cut(state, from, state.last))
  end

  function kind.give_back(_, state, moment, _, cost)
    local uses, kept = uses_of(state), {}
    for _, use in ipairs(uses) do
      if use[1] == moment then
        use[2] = use[2] - cost
      end
      if use[2] > 0 then
        kept[#kept + 1] = use
      end
    end
    return state_of(kept)
  end

  function kind.write(meter, state)
    if state.used == 0 then
      return false, 0
    end
    local value = packed(HEAD, MARK, meter.per, state.base) .. cut(state, state.first, state.last)
    return value, ceil((entry(state, state.last) + meter.per - now) / 1000)
  end

  return kind
end

