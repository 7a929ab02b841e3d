unless Code.ensure_loaded?(Guides.AccessLog),
  do: Code.require_file("../../../guides/access_log.ex", __DIR__)

defmodule RateLimiter.Replay.ModelTest do
  # A log against a model that shares nothing with the replay: lines by one regular expression, a stable sort, and
  # algorithms on lists, as their definitions state them.
  use ExUnit.Case, async: true

  alias RateLimiter.Replay

  # Parts of the guide's log: the model needs time that grows with the square of an id's requests.
  @minutes ~r/2025:(03:1[5-7]|14:[23]\d|19:[0-2]\d):/

  defmodule Model do
    @months Map.new(Enum.with_index(~w(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec), 1))

    # `{seconds, id}` in order of time. All lines are within a minute of their place, so this is a stable sort.
    def requests(lines), do: lines |> Enum.map(&request/1) |> Enum.sort_by(&elem(&1, 0))

    defp request(line) do
      [_, ip, day, month, year, h, m, s, sign, zone_h, zone_m] =
        Regex.run(
          ~r/^(\S+) \S+ \S+ \[(\d+)\/(\w+)\/(\d+):(\d+):(\d+):(\d+) ([+-])(\d\d)(\d\d)\] "/,
          line
        )

      [day, year, h, m, s, zone_h, zone_m] =
        Enum.map([day, year, h, m, s, zone_h, zone_m], &String.to_integer/1)

      offset = (zone_h * 60 + zone_m) * if(sign == "+", do: 60, else: -60)
      date = NaiveDateTime.new!(year, @months[month], day, h, m, s)
      {NaiveDateTime.diff(date, ~N[1970-01-01 00:00:00]) - offset, ip}
    end

    # For each id its waits: 0 for an admitted request.
    def judge(requests, algorithm) do
      for {id, own} <- Enum.group_by(requests, &elem(&1, 1), &elem(&1, 0)), into: %{} do
        {waits, _used} = Enum.map_reduce(own, [], &decide(&1, &2, algorithm))
        {id, waits}
      end
    end

    # `used` has the time of each admitted request, the newest first.
    defp decide(now, used, algorithm) do
      case wait(now, used, algorithm) do
        0 -> {0, [now | used]}
        wait -> {wait, used}
      end
    end

    defp wait(now, used, {:sliding_log, limit, per}) do
      case Enum.at(used, limit - 1) do
        oldest when oldest != nil and oldest + per > now -> oldest + per - now
        _ -> 0
      end
    end

    defp wait(now, used, {:fixed_window, limit, per}) do
      start = now - rem(now, per)
      if length(Enum.take_while(used, &(&1 >= start))) < limit, do: 0, else: start + per - now
    end

    defp wait(now, used, {:first_use, limit, per}) do
      {start, count} =
        used
        |> Enum.reverse()
        |> Enum.reduce({nil, 0}, fn
          at, {start, count} when start != nil and at < start + per -> {start, count + 1}
          at, _ -> {at, 1}
        end)

      if start == nil or now >= start + per or count < limit, do: 0, else: start + per - now
    end

    # k parts, and all of the part that the period only begins in.
    defp wait(now, used, {:sliding_window, limit, per, parts}) do
      width = div(per, parts)
      part = div(now, width)

      case Enum.at(used, limit - 1) do
        oldest when oldest != nil and div(oldest, width) >= part - parts ->
          (div(oldest, width) + parts + 1) * width - now

        _ ->
          0
      end
    end

    # A level that drains, in thousandths of a second: `per * 1000` must be a multiple of `limit`.
    defp wait(now, used, {:token_bucket, limit, per, burst}) do
      interval = div(per * 1000, limit)

      full_until =
        used
        |> Enum.reverse()
        |> Enum.reduce(0, fn at, until -> max(until, at * 1000) + interval end)

      wait = max(full_until, now * 1000) + interval - burst * interval - now * 1000
      if wait <= 0, do: 0, else: wait / 1000
    end
  end

  setup_all do
    lines = Enum.filter(Guides.AccessLog.lines(), &(&1 =~ @minutes))
    log = Path.join(System.tmp_dir!(), "rate_limiter_model_#{System.pid()}.log.gz")
    File.write!(log, :zlib.gzip(lines))
    on_exit(fn -> File.rm!(log) end)
    %{log: log, requests: Model.requests(lines)}
  end

  @cases [
    {"20/min", {:token_bucket, 20, 60, 20}},
    {"10/min:burst=30", {:token_bucket, 10, 60, 30}},
    {"1/s:burst=5:gcra", {:token_bucket, 1, 1, 5}},
    {"20/min:sliding_log", {:sliding_log, 20, 60}},
    {"100/h:sliding_log", {:sliding_log, 100, 3_600}},
    {"30/min:sliding_window", {:sliding_window, 30, 60, 10}},
    {"40/2min:sliding_window:sub_windows=60", {:sliding_window, 40, 120, 60}},
    {"100/day:fixed_window", {:fixed_window, 100, 86_400}},
    {"20/min:fixed_window:from_first_use", {:first_use, 20, 60}}
  ]

  for {text, model} <- @cases do
    test "#{text} admits and denies what the model does", %{log: log, requests: requests} do
      {:ok, report} = Replay.run([log], limits: [unquote(text)], top: 2_000)
      [verdict] = report.verdicts
      waits = Model.judge(requests, unquote(Macro.escape(model)))
      denials = Map.new(waits, fn {id, waits} -> {id, Enum.reject(waits, &(&1 == 0))} end)
      denied = denials |> Map.values() |> Enum.map(&length/1) |> Enum.sum()

      assert verdict.requests == length(requests)
      assert {verdict.denied, verdict.admitted} == {denied, length(requests) - denied}
      assert verdict.ids == map_size(waits)
      assert verdict.ids_denied == Enum.count(denials, fn {_, waits} -> waits != [] end)

      expected =
        for {id, [_ | _] = own} <- denials, into: %{} do
          {[id], {length(waits[id]), length(own), round(Enum.max(own) * 1_000_000_000)}}
        end

      assert Map.new(verdict.top, &{&1.id, {&1.requests, &1.denied, &1.longest_wait_ns}}) ==
               expected

      assert Enum.map(verdict.top, & &1.denied) ==
               Enum.sort(Enum.map(verdict.top, & &1.denied), :desc)
    end
  end

  # Every limit from 1 to the first that denies none, each on the whole log.
  @fits [
    {"60/min:sliding_log", {:sliding_log, :each, 60}},
    {"60/min:sliding_window", {:sliding_window, :each, 60, 10}},
    {"60/min:fixed_window", {:fixed_window, :each, 60}}
  ]

  for {text, model} <- @fits do
    test "the smallest limit like #{text} is the first at which the model denies none", %{
      log: log,
      requests: requests
    } do
      {:ok, report} =
        Replay.run([log], limits: [unquote(text)], shares_ppm: [0, 1_000, 10_000, 100_000])

      [verdict] = report.verdicts

      # A limit does not deny an id with fewer requests, so high limits are tried on the other ids only.
      heavy = requests |> Enum.frequencies_by(&elem(&1, 1))

      tried =
        Stream.iterate(1, &(&1 + 1))
        |> Stream.map(fn limit ->
          some = Enum.filter(requests, fn {_, id} -> heavy[id] > limit end)
          waits = Model.judge(some, put_elem(unquote(Macro.escape(model)), 1, limit))

          {limit, Enum.count(waits, fn {_, waits} -> Enum.any?(waits, &(&1 > 0)) end),
           waits |> Enum.flat_map(&elem(&1, 1)) |> Enum.count(&(&1 > 0))}
        end)
        |> Enum.reduce_while([], fn
          {_, 0, _} = last, tried -> {:halt, [last | tried]}
          point, tried -> {:cont, [point | tried]}
        end)
        |> Enum.reverse()

      for {share, limit} <- verdict.smallest do
        may_be_denied = div(verdict.ids * share, 1_000_000)
        {first, _, _} = Enum.find(tried, fn {_, ids, _} -> ids <= may_be_denied end)
        assert {share, limit.limit} == {share, first}
      end

      tried = Map.new(tried, fn {limit, _, _} = point -> {limit, point} end)

      for {limit, _, _} = point <- verdict.curve, is_map_key(tried, limit) do
        assert point == tried[limit]
      end
    end
  end

  test "the smallest token bucket denies none, and one less denies some", %{
    log: log,
    requests: requests
  } do
    {:ok, %{verdicts: [verdict]}} = Replay.run([log], limits: ["60/min"])
    {:ok, best} = Replay.smallest(verdict, 0)

    # In nanoseconds, with the interval rounded up, as the state of a bucket.
    denied = fn limit ->
      interval = div(60_000_000_000 + limit - 1, limit)

      for {_id, own} <- Enum.group_by(requests, &elem(&1, 1), &(elem(&1, 0) * 1_000_000_000)) do
        Enum.reduce_while(own, 0, fn now, until ->
          until = max(until, now) + interval
          if until - now > limit * interval, do: {:halt, :denied}, else: {:cont, until}
        end)
      end
      |> Enum.count(&(&1 == :denied))
    end

    assert denied.(best.limit) == 0
    assert denied.(best.limit - 1) > 0

    for limit <- 1..best.limit do
      with {_, ids, _} <- List.keyfind(verdict.curve, limit, 0),
           do: assert({limit, denied.(limit)} == {limit, ids})
    end
  end

  test "the parts of the report add up", %{log: log, requests: requests} do
    {:ok, report} = Replay.run([log], limits: ["20/min"])
    [verdict] = report.verdicts

    hours =
      Enum.frequencies_by(requests, fn {second, _} -> second |> rem(86_400) |> div(3_600) end)

    assert Enum.map(verdict.hours, fn {admitted, denied} -> admitted + denied end) ==
             Enum.map(0..23, &Map.get(hours, &1, 0))

    assert Enum.sum(for {_, denied} <- verdict.hours, do: denied) == verdict.denied

    columns =
      Enum.frequencies_by(requests, fn {second, _} ->
        second - rem(second, verdict.column_seconds)
      end)

    for {start, admitted, denied} <- verdict.columns do
      assert admitted + denied == Map.get(columns, start, 0)
    end

    assert %{broken: 0, late: 0, zone_minutes: 0} = report.input
    assert report.input.lines == length(requests)
  end
end
