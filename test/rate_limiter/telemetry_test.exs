defmodule RateLimiter.TelemetryTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  @check [:rate_limiter, :check]
  @violation [:rate_limiter, :violation]
  @threshold [:rate_limiter, :threshold]
  @would_deny [:rate_limiter, :would_deny]

  setup do
    windows = [burst: [limit: 2, per: :second], slow: [limit: 5, per: :minute]]

    RateLimiter.Test.start(
      limiters:
        for(events <- [:all, :denials, :none], do: {events, [events: events, windows: windows]})
    )

    listen([@check, @violation, @would_deny])
  end

  describe "[:rate_limiter, :check]" do
    test "is emitted for an allowed call" do
      {:ok, _} = RateLimiter.check_and_track(:all, "u", :burst)
      assert_received {:event, @check, measurements, metadata}
      assert measurements == %{cost: 1, remaining: 1, current: 1}

      assert metadata == %{
               limiter: :all,
               window: :burst,
               result: :allowed,
               source: :local,
               scale: 1.0,
               would_deny: false
             }

      refute_received {:event, _, _, _}
    end

    test "is emitted for a denied call" do
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:all, "u", :burst, cost: 3)

      assert_received {:event, @check, %{cost: 3, remaining: 2, current: 0},
                       %{result: :denied, limiter: :all, window: :burst}}
    end

    test "is emitted by allow?/4 as by check_and_track/4" do
      for limiter <- [:all, :denials, :none], windows <- [:burst, [], [:burst, :slow]] do
        for id <- ["u", "v"], do: RateLimiter.reset(limiter, id)

        for cost <- [1, 1, 1, 9],
            do: RateLimiter.check_and_track(limiter, "u", windows, cost: cost)

        expected = received()
        for cost <- [1, 1, 1, 9], do: RateLimiter.allow?(limiter, "v", windows, cost: cost)
        assert received() == expected
        assert expected != []
      end
    end

    test "is emitted once for a call on several windows, with the window that decided" do
      {:ok, _} = RateLimiter.check_and_track(:all, "u")
      assert_received {:event, @check, %{remaining: 1}, %{window: :burst}}
      refute_received {:event, _, _, _}
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:all, "v", [:slow], cost: 6)
      assert_received {:event, @check, _, %{window: :slow, result: :denied}}
    end

    test "is emitted for each entry of a batch" do
      RateLimiter.check_batch(:all, [{"u", 1}, {"u", 5}, {"v", 1}], :burst)
      assert for(_ <- 1..3, do: received_result()) == [:allowed, :denied, :allowed]
      RateLimiter.check_batch(:all, [{"u", 1}])
      assert received_result() == :allowed
      refute_received {:event, @check, _, _}
    end

    test "is not emitted for calls that consume nothing" do
      {:ok, _} = RateLimiter.peek(:all, "u", :burst)
      {:error, :rate_limited, _} = RateLimiter.peek(:all, "u", cost: 100)
      {:ok, _} = RateLimiter.get_usage(:all, "u")
      {:ok, _} = RateLimiter.get_usage_batch(:all, ["u"], :burst)
      {:ok, _} = RateLimiter.refund(:all, "u")
      :ok = RateLimiter.reset(:all, "u")
      refute_received {:event, _, _, _}
    end

    test "is emitted for denials only with events: :denials" do
      {:ok, _} = RateLimiter.check_and_track(:denials, "u", :burst)
      {:ok, _} = RateLimiter.check_and_track(:denials, "u")
      refute_received {:event, _, _, _}
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:denials, "u", :burst, cost: 9)
      assert_received {:event, @check, _, %{result: :denied}}
    end

    test "is not emitted with events: :none" do
      {:ok, _} = RateLimiter.check_and_track(:none, "u", :burst)
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:none, "u", :burst, cost: 9)
      refute_received {:event, @check, _, _}
    end
  end

  # The events in the mailbox, without the hash of the id.
  defp received do
    receive do
      {:event, name, measurements, metadata} ->
        [{name, measurements, Map.delete(metadata, :id_hash)} | received()]
    after
      0 -> []
    end
  end

  defp received_result do
    assert_received {:event, @check, _, %{result: result}}
    result
  end

  describe "[:rate_limiter, :violation]" do
    test "is emitted for every denial, independent of :events" do
      for limiter <- [:all, :denials, :none] do
        {:ok, _} = RateLimiter.check_and_track(limiter, "u", :burst, cost: 2)
        refute_received {:event, @violation, _, _}
        {:error, :rate_limited, _} = RateLimiter.check_and_track(limiter, "u", :burst)
        assert_received {:event, @violation, measurements, metadata}
        assert measurements == %{cost: 1, max: 2, current: 2}

        assert %{
                 limiter: ^limiter,
                 window: :burst,
                 source: :local,
                 scale: 1.0,
                 retry_after_ms: 500,
                 id_hash: hash
               } = metadata

        assert map_size(metadata) == 6
        assert hash =~ ~r/^[0-9a-f]{16}$/
      end
    end

    test "has retry_after_ms: :infinity for a cost that can never be admitted" do
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:all, "u", :burst, cost: 3)
      assert_received {:event, @violation, %{cost: 3}, %{retry_after_ms: :infinity}}
    end

    test "is emitted for calls on several windows and for entries of a batch" do
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:all, "u", cost: 3)
      assert_received {:event, @violation, %{max: 2}, %{window: :burst}}
      RateLimiter.check_batch(:all, [{"u", 3}], :slow)
      RateLimiter.check_batch(:all, [{"u", 6}], :slow)
      assert_received {:event, @violation, %{cost: 6}, %{window: :slow}}
      refute_received {:event, @violation, _, _}
    end

    test "has an id_hash that distinguishes ids and does not reveal them" do
      hash = fn id ->
        {:error, :rate_limited, _} = RateLimiter.check_and_track(:none, id, :burst, cost: 3)
        assert_received {:event, @violation, _, %{id_hash: hash} = metadata}
        refute inspect(metadata) =~ "ann@example.org"
        hash
      end

      assert hash.("ann@example.org") == hash.("ann@example.org")

      ids = [
        "ann@example.org",
        "bob@example.org",
        1,
        "1",
        :"1",
        {1},
        [1],
        2 ** 80,
        "",
        {"ann@example.org", 1}
      ]

      assert ids |> Enum.map(hash) |> Enum.uniq() |> length() == length(ids)
      # Without the secret of the node the hash cannot be computed.
      id = "ann@example.org"
      plain = [id, :erlang.term_to_binary(id)]

      known =
        for bytes <- plain,
            kind <- [:md5, :sha, :sha256],
            do: kind |> :crypto.hash(bytes) |> Base.encode16(case: :lower)

      refute Enum.any?(known, &String.contains?(&1, hash.(id)))
    end

    test "has an id_hash of the same length for a very long id" do
      {:error, :rate_limited, _} =
        RateLimiter.check_and_track(:none, :binary.copy("x", 1_000_000), :burst, cost: 3)

      assert_received {:event, @violation, _, %{id_hash: <<_::16-bytes>>}}
    end
  end

  describe "[:rate_limiter, :would_deny]" do
    setup do
      windows = [
        old: [limit: 5, per: :minute],
        new: [limit: 2, per: :hour, enforce: false],
        next: [limit: 1, per: :day, enforce: false]
      ]

      for events <- [:all, :none],
          do: :ok = RateLimiter.add_limiter(:"shadow_#{events}", events: events, windows: windows)

      :ok
    end

    test "is emitted for each window that would have denied the call, independent of :events" do
      {:ok, %{would_deny: false}} = RateLimiter.check_and_track(:shadow_none, "u")
      refute_received {:event, _, _, _}
      {:ok, %{would_deny: true}} = RateLimiter.check_and_track(:shadow_none, "u")
      assert_received {:event, @would_deny, %{cost: 1, max: 1, current: 1}, metadata}
      assert %{limiter: :shadow_none, window: :next, source: :local, scale: 1.0} = metadata
      assert metadata.id_hash =~ ~r/^[0-9a-f]{16}$/
      assert metadata.retry_after_ms in 86_000_000..86_400_000
      refute_received {:event, _, _, _}
      {:ok, _usage} = RateLimiter.check_and_track(:shadow_none, "u")
      windows = for _ <- 1..2, do: assert_received({:event, @would_deny, _, %{window: w}}) && w
      assert Enum.sort(windows) == [:new, :next]
    end

    test "is emitted by a call on one window, whose check is an allowed one" do
      for _ <- 1..3, do: {:ok, _} = RateLimiter.check_and_track(:shadow_all, "u", :new)
      assert_received {:event, @check, %{remaining: 1}, %{would_deny: false}}
      assert_received {:event, @check, %{remaining: 0}, %{would_deny: false}}
      assert_received {:event, @would_deny, %{current: 2}, %{window: :new}}
      assert_received {:event, @check, %{remaining: 0}, %{result: :allowed, would_deny: true}}
      assert RateLimiter.allow?(:shadow_all, "u", :new)
      assert_received {:event, @would_deny, _, _}
      refute_received {:event, @violation, _, _}
    end

    test "is not emitted for a call that another window denies" do
      {:error, :rate_limited, usage} = RateLimiter.check_and_track(:shadow_none, "u", cost: 6)
      assert {usage.window, usage.would_deny} == {:old, false}
      refute_received {:event, @would_deny, _, _}
    end
  end

  describe "[:rate_limiter, :threshold]" do
    setup do
      windows = [burst: [limit: 10, per: :minute], slow: [limit: 20, per: :hour]]

      for events <- [:all, :denials, :none] do
        options = [events: events, windows: windows, threshold: 0.8]
        :ok = RateLimiter.add_limiter(:"near_#{events}", options)
      end

      listen_to_threshold()
    end

    test "is emitted by the call that reaches the share of the limit, independent of :events" do
      for limiter <- [:near_all, :near_denials, :near_none] do
        {:ok, _} = RateLimiter.check_and_track(limiter, "u", :burst, cost: 7)
        refute_received {:event, @threshold, _, _}
        {:ok, _} = RateLimiter.check_and_track(limiter, "u", :burst)
        assert_received {:event, @threshold, measurements, metadata}
        assert measurements == %{cost: 1, max: 10, current: 8}
        assert %{limiter: ^limiter, window: :burst, source: :local, scale: 1.0} = metadata
        assert metadata.id_hash =~ ~r/^[0-9a-f]{16}$/
        assert map_size(metadata) == 5
      end
    end

    test "is emitted once for an id in the period of the window" do
      {:ok, _} = RateLimiter.check_and_track(:near_none, "u", :burst, cost: 8)
      assert_received {:event, @threshold, _, _}

      # It drains below the threshold and rises again, nine times a minute.
      for _ <- 1..9 do
        RateLimiter.Test.advance({6, :second})
        {:ok, _} = RateLimiter.check_and_track(:near_none, "u", :burst)
      end

      refute_received {:event, @threshold, _, _}
      RateLimiter.Test.advance({6, :second})
      {:ok, _} = RateLimiter.check_and_track(:near_none, "u", :burst)
      assert_received {:event, @threshold, %{current: 8}, _}
      assert RateLimiter.stats().limiters.near_none.windows.burst.thresholds == 2
    end

    test "is emitted for each id and for each window of a call" do
      for id <- 1..3, do: {:ok, _} = RateLimiter.check_and_track(:near_none, id, :burst, cost: 9)
      assert for(_ <- 1..3, do: threshold().id_hash) |> Enum.uniq() |> length() == 3
      {:ok, _} = RateLimiter.check_and_track(:near_none, "u", :slow, cost: 8)
      {:ok, _} = RateLimiter.check_and_track(:near_none, "u", cost: 8)
      assert Enum.sort(for(_ <- 1..2, do: threshold().window)) == [:burst, :slow]
    end

    test "is emitted for entries of a batch and for calls with a request id" do
      RateLimiter.check_batch(:near_none, [{"u", 8}, {"v", 1}, {"w", 10}], :burst)
      for _ <- 1..2, do: threshold()

      for _ <- 1..3 do
        options = [cost: 8, request_id: "one"]
        {:ok, _} = RateLimiter.check_and_track(:near_none, "x", :burst, options)
      end

      threshold()
      refute_received {:event, @threshold, _, _}
    end

    test "is emitted for calls that ask only whether they are admitted" do
      assert RateLimiter.allow?(:near_none, "u", :burst, cost: 8)
      threshold()
      assert RateLimiter.allow?(:near_none, "u", :burst)
      refute_received {:event, @threshold, _, _}
    end

    test "is not emitted for denied calls, peeks and limiters without the option" do
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:near_none, "u", :burst, cost: 11)

      {:ok, _} = RateLimiter.peek(:near_none, "u", :burst, cost: 10)
      {:ok, _} = RateLimiter.check_and_track(:none, "u", :slow, cost: 5)
      refute_received {:event, @threshold, _, _}
    end

    test "is emitted before the usual event of the call" do
      {:ok, _} = RateLimiter.check_and_track(:near_all, "u", :burst, cost: 10)
      assert_received {:event, first, _, _} when first in [@threshold, @check]
      assert first == @threshold
      assert_received {:event, @check, _, %{result: :allowed}}
    end

    test "a flood of new ids emits no more than max_keys" do
      window = [limit: 1, per: :hour]
      :ok = RateLimiter.add_limiter(:flood, windows: [w: window], threshold: 1, max_keys: 10)
      for id <- 1..1_000, do: RateLimiter.check_and_track(:flood, id, :w)
      assert RateLimiter.stats().limiters.flood.windows.w.thresholds in 1..5
    end

    defp listen_to_threshold do
      :telemetry.detach({RateLimiter.Support.Events, self()})
      listen([@threshold, @check])
    end

    defp threshold do
      assert_received {:event, @threshold, _, metadata}
      metadata
    end
  end

  describe "a handler that raises" do
    @tag :capture_log
    test "does not affect the caller" do
      handler = {__MODULE__, self()}
      :ok = :telemetry.attach_many(handler, [@check, @violation], &__MODULE__.fail/4, self())
      on_exit(fn -> :telemetry.detach(handler) end)

      assert {:ok, _} = RateLimiter.check_and_track(:all, "u", :burst)
      assert {:error, :rate_limited, _} = RateLimiter.check_and_track(:all, "u", :burst, cost: 5)
      assert_received {:event, @check, _, _}
    end
  end

  @doc false
  def fail(_event, _measurements, _metadata, test),
    do: if(self() == test, do: raise("a handler that raises"))

  describe "without a handler" do
    test "calls succeed and emit nothing" do
      :telemetry.detach({RateLimiter.Support.Events, self()})
      assert {:ok, _} = RateLimiter.check_and_track(:all, "u", :burst)
      assert {:error, :rate_limited, _} = RateLimiter.check_and_track(:all, "u", :burst, cost: 5)
      refute_received {:event, _, _, _}
    end
  end

  describe "the documentation" do
    setup do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(RateLimiter.Telemetry)

      events =
        Regex.scan(~r/^\| `\[:rate_limiter, (.*?)(:?\w+)\]` \|/m, text, capture: :all_but_first)

      assert length(events) >= 15
      {:ok, text: text, events: events}
    end

    test "has a section for each event of its table", %{text: text, events: events} do
      for [group, last] <- events do
        assert text =~ "\n## `[:rate_limiter, #{group}#{if last =~ ":", do: last, else: ":"}"
      end
    end

    test "has each event in the table of the README", %{events: events} do
      lines =
        "README.md" |> File.read!() |> String.split("\n") |> Enum.filter(&(&1 =~ "| `[:rate_"))

      for [group, last] <- events, last =~ ":" do
        listed? = &(&1 =~ "[:rate_limiter, #{group}" and &1 =~ ~r/#{last}(\]|`)/)
        assert Enum.any?(lines, listed?), "#{group}#{last}"
      end
    end
  end
end
