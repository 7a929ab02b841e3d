-- Requests of several clients in turn, and counts of what they got. Each thread has a Lua state of its own.

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(arguments)
  clients, sent = tonumber(arguments[1]), 0
  admitted, denied, other, without_fields = 0, 0, 0, 0
end

function request()
  sent = sent + 1
  return wrk.format('GET', '/', { ['x-client'] = 'client ' .. sent % clients })
end

function response(status, headers, body)
  local fields = {}
  for name, value in pairs(headers) do
    fields[name:lower()] = value
  end
  local complete = (fields['ratelimit'] or ''):match('^"window";r=%d+;t=%d+$')
    and fields['ratelimit-policy'] == '"window";q=10;w=1'
  if status == 200 then
    admitted = admitted + 1
  elseif status == 429 then
    denied = denied + 1
    complete = complete and (fields['retry-after'] or ''):match('^%d+$')
      and body:find('quota-exceeded', 1, true)
  else
    other = other + 1
  end
  if not complete then
    without_fields = without_fields + 1
  end
end

function done(summary, latency, requests)
  local names, line = { 'admitted', 'denied', 'other', 'without_fields' }, 'counted'
  for _, name in ipairs(names) do
    local sum = 0
    for _, thread in ipairs(threads) do
      sum = sum + thread:get(name)
    end
    line = line .. ' ' .. name .. '=' .. sum
  end
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  io.write(line .. ' errors=' .. failed .. '\n')
end
