-- Decides the calls. The last part of the script; `head.lua` describes KEYS, ARGV and the reply.

local TAKE, REFUND, RESET, GIVE_BACK = 0, 2, 3, 4
local REQUEST, CHARGES, NAMED, SHADOW = 1, 2, 4, 8
local FOREIGN = 0
local ERA, ERA_SIZE, RESET_OF, RESET_SIZE = '>I7I7I7I7', 28, '>BI7', 8
local ADMITTED, NUMBER = '>I7I7', '>I7'
-- The size of an era after which it forgets all resets but the last: more than all windows of a limiter take.
local MOST_ERA = 4096
-- The number of arguments that fit Lua's stack in one call.
local AT_ONCE = 4000

-- Reads all keys. MGET returns nil for a key of another type, which a write would then overwrite, so absent keys are
-- checked with EXISTS.
local values, absent = nil, {}
if #KEYS <= AT_ONCE then
  values = call('MGET', unpack(KEYS))
else
  values = {}
  for from = 1, #KEYS, AT_ONCE do
    for _, value in ipairs(call('MGET', unpack(KEYS, from, min(from + AT_ONCE - 1, #KEYS)))) do
      values[#values + 1] = value
    end
  end
end
for place = 1, #KEYS do
  if not values[place] then
    absent[#absent + 1] = KEYS[place]
  end
end
for from = 1, #absent, AT_ONCE do
  if call('EXISTS', unpack(absent, from, min(from + AT_ONCE - 1, #absent))) > 0 then
    for place = 1, #KEYS do
      if not values[place] and call('EXISTS', KEYS[place]) == 1 then
        values[place] = FOREIGN
      end
    end
  end
end

-- The first position of each key, where its value is kept.
local first = nil
if repeats == 1 then
  first = {}
  for place, key in ipairs(KEYS) do
    first[key] = first[key] or place
  end
end

-- Returns a list of (moment, amount), and the position after it.
local function portions(argument, at)
  local list, count = {}, nil
  count, at = unpacked('>H', argument, at)
  for number = 1, count do
    local moment, amount
    moment, amount, at = unpacked('>I7I7', argument, at)
    list[number] = { moment, amount }
  end
  return list, at
end

-- Returns what is to be restored of a window, and what is to be added to it. `reset` is the moment of its last reset.
local function charges(argument, era, reset)
  local since, last, least, taken, at
  since, at = unpacked(NUMBER, argument)
  least, at = portions(argument, at)
  last, at = unpacked(NUMBER, argument, at)
  taken = portions(argument, at)
  -- This server knows of a reset or refund that the node has not heard of: it has not lost what was before that.
  return era.lowered > since and {} or least, reset > last and {} or taken
end

-- Returns an era: its number; `lasts`, until when it is kept; `began`, the moment of the refund or reset with which it
-- began, 0 if with none; `lowered`, that of the last one, also with a receipt; `resets`, the last reset of each window, by
-- the end of its key. nil if another program wrote the value.
local function era_of(value)
  local era = { number = now, lasts = 0, began = 0, lowered = 0, resets = {} }
  if not value then
    return era
  end
  if value == FOREIGN or #value < ERA_SIZE or #value > 2 * MOST_ERA then
    return nil
  end
  local at, size = nil, #value
  era.number, era.lasts, era.began, era.lowered, at = unpacked(ERA, value)
  if era.number >= LAST or max(era.lasts, era.began, era.lowered) > LAST then
    return nil
  end
  while at <= size do
    if at + RESET_SIZE - 1 > size then
      return nil
    end
    local length, moment, from = unpacked(RESET_OF, value, at)
    at = from + length
    if at > size + 1 or moment > LAST then
      return nil
    end
    era.resets[value:sub(from, at - 1)] = moment
  end
  return era
end

local function era_value(era)
  local value = packed(ERA, era.number, era.lasts, era.began, era.lowered)
  for ending, moment in pairs(era.resets) do
    value = value .. packed(RESET_OF, #ending, moment) .. ending
  end
  return value
end

-- Returns whether a value, if there is one, has this size and begins with a number, as none of another program does by chance.
local function is_note(value, size)
  return not value or value ~= FOREIGN and #value == size and unpacked(NUMBER, value) <= LAST
end

local function any(list, places, count)
  for at = 1, count do
    if list[places[at]] then
      return true
    end
  end
  return false
end

-- Returns whether each window that is enforced can hold a cost when it is unused.
local function can_fit(meters, count, cost, shadow)
  for window = 1, count do
    local meter = meters[window]
    if not (shadow and shadow[window]) and not meter.kind.fits(meter, (meter.kind.read(meter, false)), cost) then
      return false
    end
  end
  return true
end

local makers, kinds, meters = { token_bucket, sliding_window, sliding_log, fixed_window }, {}, {}
for number = 1, meter_count do
  local argument = ARGV[number + 1]
  local kind = argument:byte()
  kinds[kind] = kinds[kind] or makers[kind]()
  meters[number] = kinds[kind].meter(argument)
  meters[number].argument = argument
end

local lives, letters, reply = {}, {}, { now, '' }
local asked, judges, states, changed, places, endings, resets = {}, {}, {}, {}, {}, {}, {}
local place, argument = 0, meter_count + 2

-- Writes an era that is kept for so many ms from now on, if it was not to be kept for longer.
local function keep_era(era, here, keep)
  era.lasts = max(era.lasts, now + keep * 1000)
  values[here], lives[here] = era_value(era), ceil((era.lasts - now) / 1000)
end

-- Remembers an admitted call in its era, for so many ms.
local function remember(era, era_place, here, keep)
  if era.lasts < now + keep * 1000 then
    keep_era(era, era_place, keep * 2)
  end
  values[here], lives[here] = packed(ADMITTED, era.number, now), keep
end

-- The loop below, specialised for nearly all calls: each takes a cost from one window, ids do not repeat, there are no
-- request ids and no charges, and the value was written under the same limit. Stops at a call for which that is false,
-- and returns how many it has decided. The general loop adds a tenth to the server's time for a check.
local function take_of_each(count, meter, cost)
  local kind, start = meter.kind, place
  local read, fits, take, write = kind.read, kind.fits, kind.take, kind.write
  for here = start + 1, start + count do
    local value, letter, life = values[here], 'D', nil
    local state, changes = nil, nil
    if value ~= FOREIGN then
      state, changes = read(meter, value)
    end
    if not state then
      return here - 1 - start
    end
    if fits(meter, state, cost) then
      letter, state, changes = 'A', take(meter, state, cost), true
    end
    if changes then
      local written, lasts = write(meter, state)
      if written or value then
        value, life = written, lasts
      end
    end
    values[here], lives[here] = value, life
    letters[#letters + 1], reply[#reply + 1] = letter, value
    place = here
  end
  return count
end

while ARGV[argument] do
  local operation, count, cost, follows, windows, at = unpacked('>BHI7BB', ARGV[argument])
  for window = 1, windows do
    local number
    number, at = unpacked('>H', ARGV[argument], at)
    asked[window] = meters[number]
  end
  local is_charged, is_named = floor(follows / CHARGES) % 2 == 1, floor(follows / NAMED) % 2 == 1
  local shadow, keep, longest, moment, cost_of_call = nil, nil, nil, nil, nil
  if floor(follows / SHADOW) % 2 == 1 then
    local bits
    bits, at = unpacked('>I4', ARGV[argument], at)
    shadow = {}
    for window = 1, windows do
      shadow[window] = floor(bits / 2 ^ (window - 1)) % 2 == 1
    end
  end
  if follows % 2 == REQUEST then
    keep, at = unpacked('>I7', ARGV[argument], at)
  end
  if keep or operation >= REFUND or is_charged or is_named then
    longest, at = unpacked('>I7', ARGV[argument], at)
  end
  if operation == GIVE_BACK then
    moment, cost_of_call, at = unpacked('>I7I7', ARGV[argument], at)
  end
  local charged = is_charged and argument
  local named = is_named and argument + 1 + (charged and windows or 0)
  argument = argument + 1 + (charged and windows or 0) + (named and 1 or 0)

  if operation == TAKE and cost > 0 and follows == 0 and windows == 1 and not first then
    count = count - take_of_each(count, asked[1], cost)
  end
  for _ = 1, count do
    local letter = 'A'
    for window = 1, windows do
      place = place + 1
      local here = first and first[KEYS[place]] or place
      local value, meter, state = values[here], asked[window], nil
      if value ~= FOREIGN then
        state, changed[window] = meter.kind.read(meter, value)
        if not state then
          meter = with_others(meter)
          state, changed[window] = meter.kind.read(meter, value)
        end
      end
      judges[window] = meter
      if not state then
        letter, values[here] = 'X', FOREIGN
      end
      states[window], places[window] = state, here
    end
    local era, era_place, request, given = nil, nil, nil, nil
    if longest then
      place = place + 1
      era_place = first and first[KEYS[place]] or place
      era = era_of(values[era_place])
      letter = era and letter or 'X'
      for window = 1, era and windows or 0 do
        -- Both keys begin alike.
        endings[window] = KEYS[places[window]]:sub(#KEYS[place] - 1)
        resets[window] = era.resets[endings[window]] or 0
      end
    end
    if keep then
      place = place + 1
      request = first and first[KEYS[place]] or place
      letter = is_note(values[request], 14) and letter or 'X'
    end
    if moment then
      place = place + 1
      given = first and first[KEYS[place]] or place
      letter = is_note(values[given], 7) and letter or 'X'
    end
    local names, exceeds = {}, shadow and {}
    if named then
      local number_of_names, from = unpacked('>H', ARGV[named])
      for name = 1, number_of_names do
        place = place + 1
        local here, lists = first and first[KEYS[place]] or place, {}
        local keeps, taken_at
        keeps, taken_at, from = unpacked('>I7I7', ARGV[named], from)
        for window = 1, windows do
          lists[window], from = portions(ARGV[named], from)
        end
        names[name] = { here, keeps, taken_at, lists }
        letter = is_note(values[here], 14) and letter or 'X'
      end
    end
    local ends = operation == REFUND and cost > 0 and (values[era_place] or any(values, places, windows))
    if letter ~= 'X' and (ends or operation == RESET) then
      era.number = max(now, era.number + 1)
      era.began, era.lowered = max(now, era.began), max(now, era.lowered)
      if values[era_place] and #values[era_place] > MOST_ERA then
        era.resets = {}
      end
      for window = 1, operation == RESET and windows or 0 do
        era.resets[endings[window]] = now
      end
      -- Also if nothing is used: nodes may still have to report what they admitted before.
      keep_era(era, era_place, longest)
    end

    if letter ~= 'X' and operation == RESET then
      for window = 1, windows do
        local here = places[window]
        if values[here] then
          values[here], lives[here] = false, 0
        end
      end
    elseif letter ~= 'X' then
      for window = 1, charged and windows or 0 do
        if #ARGV[charged + window] > 0 then
          local least, taken = charges(ARGV[charged + window], era, resets[window])
          local meter = judges[window]
          states[window] = meter.kind.charge(meter, states[window], least, taken)
          changed[window] = true
        end
      end
      for _, name in ipairs(names) do
        local here, keeps, taken_at, lists = name[1], name[2], name[3], name[4]
        if not (values[era_place] and values[here] and unpacked(NUMBER, values[here]) == era.number) then
          local has_ended = false
          for window = 1, windows do
            if #lists[window] > 0 then
              if resets[window] > taken_at then
                has_ended = true
              else
                local meter = judges[window]
                states[window] = meter.kind.charge(meter, states[window], {}, lists[window])
                changed[window] = true
              end
            end
          end
          if not has_ended then
            remember(era, era_place, here, keeps)
          end
        end
      end
      if operation == REFUND then
        for window = 1, cost > 0 and windows or 0 do
          local meter = judges[window]
          states[window], changed[window] = meter.kind.refund(meter, states[window], cost), true
        end
      elseif operation == GIVE_BACK then
        local before = values[given] and unpacked(NUMBER, values[given]) or 0
        local left = cost_of_call - before
        local back = min(cost, left)
        if back > 0 and moment > era.began and any(values, places, windows) then
          era.lowered = max(now, era.lowered)
          keep_era(era, era_place, longest)
          for window = 1, windows do
            local meter = judges[window]
            states[window] = meter.kind.give_back(meter, states[window], moment, left, back)
            changed[window] = true
          end
          values[given], lives[given] = packed(NUMBER, before + back), longest
          if request and values[request] then
            local _, admitted = unpacked(ADMITTED, values[request])
            if admitted == moment then
              values[request], lives[request] = false, 0
            end
          end
        end
      elseif
        request
        and values[era_place]
        and values[request]
        and unpacked(NUMBER, values[request]) == era.number
        and can_fit(asked, windows, cost, shadow)
      then
        letter = 'R'
      elseif cost > 0 then
        for window = 1, windows do
          local meter = judges[window]
          local fits = meter.kind.fits(meter, states[window], cost)
          if not fits and shadow and shadow[window] then
            exceeds[window] = true
          elseif not fits then
            letter = 'D'
          end
        end
        if letter == 'A' and operation == TAKE then
          for window = 1, windows do
            if not (exceeds and exceeds[window]) then
              local meter = judges[window]
              states[window], changed[window] = meter.kind.take(meter, states[window], cost), true
            end
          end
        end
      end
      if request and letter == 'A' and operation == TAKE and cost > 0 then
        remember(era, era_place, request, keep)
      end
      for window = 1, windows do
        if changed[window] then
          local here = places[window]
          local value, life = judges[window].kind.write(judges[window], states[window])
          if value or values[here] then
            values[here], lives[here] = value, life
          end
        end
      end
    end

    letters[#letters + 1] = letter
    for window = 1, windows do
      local value, own = values[places[window]], judges[window].own
      if own and value and letter ~= 'X' then
        value = own.kind.write(own, states[window].own)
      end
      if exceeds and exceeds[window] and letter == 'A' and operation == TAKE then
        value = { value or false }
      end
      reply[#reply + 1] = value
    end
  end
end

-- Writes before removals: if writes are refused, nothing is removed either. Many keys have the same lifetime, and
-- formatting a number takes longer than a table lookup.
local written = {}
for place = 1, #KEYS do
  if lives[place] and values[place] then
    local life = lives[place] + slack
    local text = written[life]
    if not text then
      text = string.format('%d', life)
      written[life] = text
    end
    call('SET', KEYS[place], values[place], 'PX', text)
  end
end
for place = 1, #KEYS do
  if lives[place] and not values[place] then
    call('DEL', KEYS[place])
  end
end

reply[2] = table.concat(letters)
return reply
