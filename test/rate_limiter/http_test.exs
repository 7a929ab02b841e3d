defmodule RateLimiter.HTTPTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{HTTP, Usage}
  alias RateLimiter.Support.StructuredFields

  # As the limiter of the README, which the examples show.
  setup do
    RateLimiter.Test.start(limiters: [login: [windows: [attempts: [limit: 5, per: :hour]]]])
  end

  doctest HTTP

  @ms %{second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000}

  defp fields(answer, options \\ []), do: Map.new(HTTP.fields(answer, options))

  defp parsed(answer) do
    fields = fields(answer)
    policies = StructuredFields.list!(fields["ratelimit-policy"])
    limits = StructuredFields.list!(fields["ratelimit"])
    assert Enum.map(policies, &elem(&1, 0)) == Enum.map(limits, &elem(&1, 0))

    for {{name, policy}, {name, limit}} <- Enum.zip(policies, limits),
        do: {name, Map.merge(policy, limit)}
  end

  defp integer(text), do: String.to_integer(text)

  describe "fields/2" do
    test "has one member a window, in the configured order" do
      RateLimiter.Test.start(
        limiters: [
          two: [windows: [z: [limit: 100, per: :minute], a: [limit: 1_000, per: {2, :day}]]]
        ]
      )

      answer = RateLimiter.check_and_track(:two, 1)

      assert HTTP.fields(answer) == [
               {"ratelimit-policy", ~s("z";q=100;w=60, "a";q=1000;w=172800)},
               {"ratelimit", ~s("z";r=99;t=60, "a";r=999;t=172628)}
             ]

      assert fields(answer, format: :draft_6) == %{
               "ratelimit-limit" => "100",
               "ratelimit-remaining" => "99",
               "ratelimit-reset" => "1",
               "ratelimit-policy" => "100;w=60, 1000;w=172800"
             }

      assert HTTP.fields(answer, format: :none) == []
    end

    test "a window in shadow mode is not announced, whether it would deny or not" do
      windows = [old: [limit: 5, per: :minute], new: [limit: 1, per: :hour, enforce: false]]
      RateLimiter.Test.start(limiters: [shadowed: [windows: windows]])

      for left <- [4, 3] do
        answer = {:ok, _usage} = RateLimiter.check_and_track(:shadowed, 1)
        assert [{"old", %{"r" => ^left}}] = parsed(answer)
        assert fields(answer, format: :x_rate_limit)["x-ratelimit-remaining"] == "#{left}"
      end

      denied = {:error, :rate_limited, _} = RateLimiter.check_and_track(:shadowed, 1, cost: 4)
      assert %{"retry-after" => "12"} = fields(denied)
      {429, _type, body} = HTTP.problem(denied)
      assert IO.iodata_to_binary(body) =~ ~s("violated-policies":["old"])
      assert {:ok, %{would_deny: true}} = answer = RateLimiter.peek(:shadowed, 1, :new)

      for format <- [:draft_11, :draft_6, :x_rate_limit],
          do: assert(HTTP.fields(answer, format: format) == [])
    end

    test "of random histories: no client that follows t exceeds the rate, nor is early" do
      for seed <- 1..150 do
        :rand.seed(:exsss, {seed, 2, 3})
        algorithm = Enum.random([:token_bucket, :fixed_window, :sliding_window, :sliding_log])
        unit = Enum.random([:second, :minute, :hour, :day])
        limit = Enum.random([1, 2, 3, 7, 100, 1_000])
        limiter = :"http_#{seed}"
        window = [algorithm: algorithm, limit: limit, per: unit]
        window = if algorithm == :token_bucket, do: window ++ [burst: limit * 2], else: window
        RateLimiter.Test.start(limiters: [{limiter, [windows: [w: window]]}])

        for _ <- 1..20 do
          cost = Enum.random([0, 1, 1, 1, limit, limit * 3])
          answer = RateLimiter.check_and_track(limiter, "id", :w, cost: cost)
          usage = elem(answer, tuple_size(answer) - 1)
          [{"w", %{"q" => ^limit, "r" => r, "t" => t, "w" => w}}] = parsed(answer)
          assert w * 1_000 == @ms[unit]
          assert t >= 1 and r <= usage.remaining
          assert r * w <= limit * t, "#{inspect(window)}: r=#{r} t=#{t}"
          assert t * 1_000 >= usage.next_after_ms
          early(answer, usage, t, fields(answer)["retry-after"])
          RateLimiter.Test.advance(:rand.uniform(div(@ms[unit], 2)))
        end
      end
    end

    defp early({:ok, _usage}, _left, _t, retry_after), do: assert(retry_after == nil)

    defp early(_denied, %{retry_after_ms: :infinity}, _t, retry_after),
      do: assert(retry_after == nil)

    defp early(_denied, usage, t, retry_after) do
      assert integer(retry_after) == t
      assert t * 1_000 >= usage.retry_after_ms and (t - 1) * 1_000 < usage.retry_after_ms
    end

    test "Retry-After is that of the window with the longest wait" do
      RateLimiter.Test.start(
        limiters: [
          two: [windows: [s: [limit: 1, per: :second], m: [limit: 1, per: :minute]]]
        ]
      )

      {:ok, _} = RateLimiter.check_and_track(:two, 1)
      denied = RateLimiter.check_and_track(:two, 1)
      assert fields(denied)["retry-after"] == "60"
      assert [{"s", %{"t" => 1, "r" => 0}}, {"m", %{"t" => 60, "r" => 0}}] = parsed(denied)
      assert fields(denied, format: :none) == %{"retry-after" => "60"}
      assert fields(denied, format: {:x_rate_limit, :delta})["x-ratelimit-reset"] == "60"
    end

    test "jitter adds whole seconds, at most as many as configured, and never subtracts" do
      for _ <- 1..5, do: RateLimiter.check_and_track(:login, 1)
      denied = RateLimiter.check_and_track(:login, 1)

      waits = for _ <- 1..200, do: integer(fields(denied, jitter: 3)["retry-after"])
      assert waits |> Enum.uniq() |> Enum.sort() == [720, 721, 722, 723]
    end

    test "a period below a second has no w" do
      RateLimiter.Test.start(
        limiters: [fast: [windows: [w: [limit: 9, per: {300, :millisecond}]]]]
      )

      assert parsed(RateLimiter.check_and_track(:fast, 1)) == [
               {"w", %{"q" => 9, "r" => 8, "t" => 1}}
             ]
    end

    test "names are ASCII and stay different, and numbers are Integers of Structured Fields" do
      names = [:größe, :"a\"b", :"a\\b", :%, :"%25", :"a\r\nb", :" "]

      RateLimiter.Test.start(
        limiters: [
          names: [windows: for(name <- names, do: {name, [limit: 1, per: :day]})],
          huge: [
            windows: [w: [algorithm: :fixed_window, limit: 4_000_000_000_000_000, per: :day]]
          ]
        ]
      )

      sent = parsed(RateLimiter.check_and_track(:names, 1))
      assert sent |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> length() == length(names)
      assert {"gr%C3%B6%C3%9Fe", _} = hd(sent)

      assert [{"w", %{"q" => 999_999_999_999_999, "r" => 999_999_999_999_999}}] =
               parsed(RateLimiter.check_and_track(:huge, 1))
    end

    test "an answer of a limiter that does not run here has what the usage says" do
      usage = %Usage{limiter: :gone, window: :w, max: 5, current: 5, remaining: 0}
      assert fields({:ok, usage})["ratelimit"] == ~s("w";r=0)
      unavailable = {:error, :unavailable, %{usage | retry_after_ms: 1_000}}
      assert fields(unavailable)["retry-after"] == "1"
      never = {:error, :rate_limited, %{usage | retry_after_ms: :infinity}}
      assert fields(never) |> Map.keys() == ["ratelimit", "ratelimit-policy"]
    end

    test "refuses what is no answer, and unknown options" do
      answer = RateLimiter.check_and_track(:login, 1)

      for call <- [
            fn -> HTTP.fields(:ok) end,
            fn -> HTTP.fields({:error, :unavailable, nil}) end,
            fn -> HTTP.fields(answer, format: :draft_7) end,
            fn -> HTTP.fields(answer, jitter: -1) end,
            fn -> HTTP.fields(answer, formt: :none) end,
            fn -> HTTP.fields(answer, :none) end
          ],
          do: assert_raise(ArgumentError, call)
    end
  end

  describe "problem/2" do
    defp type(answer, options \\ []) do
      {status, "application/problem+json", body} = HTTP.problem(answer, options)
      [_, type] = Regex.run(~r/problem-types#([a-z-]+)"/, IO.iodata_to_binary(body))
      {status, type}
    end

    test "says whether the caller or the capacity is the cause" do
      usage = %Usage{limiter: :login, window: :attempts, max: 5, current: 5, remaining: 0}
      usage = %{usage | retry_after_ms: 720_000}
      assert type({:error, :rate_limited, usage}) == {429, "quota-exceeded"}
      scaled = %{usage | max: 2, current: 2, scale: 0.4}
      assert type({:error, :rate_limited, scaled}) == {503, "temporary-reduced-capacity"}
      share = %{usage | max: 0, current: 0, source: :fallback}
      assert type({:error, :rate_limited, share}) == {503, "temporary-reduced-capacity"}
      away = %{usage | retry_after_ms: 1_000}
      assert type({:error, :unavailable, away}) == {503, "temporary-reduced-capacity"}
      gate = %Usage{limiter: :s1, window: :gate, max: 0, current: 0, remaining: 0}
      gate = {:error, :rate_limited, %{gate | retry_after_ms: 100}}
      assert type(gate) == {503, "temporary-reduced-capacity"}

      banned = [type: :abnormal_usage_detected]

      assert type({:error, :rate_limited, usage}, banned) == {429, "abnormal-usage-detected"}
    end

    test "a cost that never fits is the caller's" do
      for cost <- [-1, 6] do
        denied = RateLimiter.check_and_track(:login, 1, :attempts, cost: cost)
        assert type(denied) == {429, "quota-exceeded"}
      end
    end

    test "refuses an admitted answer and unknown types" do
      answer = RateLimiter.check_and_track(:login, 1)
      assert_raise ArgumentError, ~r/a denied answer/, fn -> HTTP.problem(answer) end
      {:ok, usage} = answer
      denied = {:error, :rate_limited, usage}
      assert_raise ArgumentError, fn -> HTTP.problem(denied, type: :other) end
    end
  end
end
