defmodule RateLimiter.VSM.GateTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Subsystems

  alias RateLimiter.Adaptive.{Fixed, Histogram, Work}
  alias RateLimiter.Store
  alias RateLimiter.Support.Events
  alias RateLimiter.Usage
  alias RateLimiter.VSM.{Gate, Subsystem, Table}

  @large String.duplicate("x", 1_000_000)

  setup do
    own = [law: Fixed, limit: 10, per: :second]

    table =
      new(
        work: own,
        quiet: [events: :none] ++ own,
        whole: [shared: true] ++ own,
        part: [parent: :whole] ++ own
      )

    %{table: table, work: Table.subsystem(table, :work)}
  end

  defp subsystem(%{table: table}, name), do: Table.subsystem(table, name)

  describe "check/3" do
    test "takes the cost from the limit of the subsystem, and denies what does not fit",
         context do
      %{table: table, work: work} = context

      assert {:ok, %Usage{limiter: :work, window: :rate, max: 10, remaining: 3, cost: 7}} =
               Gate.check(work, "a", 7)

      assert {:error, :rate_limited, denied} = Gate.check(work, "a", 4)

      assert %Usage{limiter: :work, window: :rate, cost: 4, remaining: 3, retry_after_ms: 100} =
               denied

      advance(table, 100)
      assert {:ok, %Usage{remaining: 0}} = Gate.check(work, "a", 4)
    end

    test "counts every call, and the denied ones", %{work: work} do
      for cost <- [8, 2, 1, 5], do: Gate.check(work, "a", cost)
      assert %{asked: 4, denied: 2, guarded: 0, shed: 0, in_flight: 0} = Gate.counts(work.gate)
    end

    test "accepts an id of any size", %{work: work} do
      assert {:ok, %Usage{remaining: 9}} = Gate.check(work, @large, 1)
      assert {:error, :rate_limited, _usage} = Gate.check(work, @large, 10)
    end

    test "denies a cost that can never fit, however large", %{work: work} do
      for cost <- [11, -1, 2 ** 64, -(2 ** 64)] do
        assert {:error, :rate_limited, %Usage{cost: ^cost, retry_after_ms: :infinity}} =
                 Gate.check(work, "a", cost)
      end
    end

    test "sheds calls of a closed gate for a second, and takes nothing", %{work: work} do
      Gate.set_open(work.gate, 0.0)

      for _ <- 1..20 do
        assert {:error, :rate_limited, usage} = Gate.check(work, "a", 2)
        assert %Usage{window: :gate, cost: 2, remaining: 0} = usage
        assert %Usage{next_after_ms: 1_000, retry_after_ms: 1_000} = usage
      end

      assert %{shed: 20, asked: 20} = Gate.counts(work.gate)
      Gate.set_open(work.gate, 1.0)
      assert {:ok, %Usage{remaining: 8}} = Gate.check(work, "a", 2)
    end

    test "raises for an invalid id or cost, and for a limiter that is gone", context do
      %{work: work} = context

      for call <- [&Gate.check/3, &Gate.enter/3] do
        assert_raise ArgumentError, ~r/cost/, fn -> call.(work, "a", 1.0) end
        assert_raise ArgumentError, ~r/id/, fn -> call.(work, nil, 1) end
        gone = %{work | limiter: 2 ** 61 + 2 ** 40}
        assert_raise ArgumentError, ~r/has stopped/, fn -> call.(gone, "a", 1) end
      end
    end

    test "emits an event of every decision, unless the subsystem has none", context do
      Events.listen([[:rate_limiter, :check], [:rate_limiter, :violation]])

      verdicts = fn subsystem, calls ->
        for cost <- calls, do: Gate.check(subsystem, "a", cost)
      end

      verdicts.(context.work, [1, 11])
      assert_received {:event, [_, :check], %{cost: 1}, %{limiter: :work, result: :allowed}}
      assert_received {:event, [_, :check], %{cost: 11}, %{result: :denied, window: :rate}}
      assert_received {:event, [_, :violation], %{cost: 11}, %{limiter: :work}}

      verdicts.(subsystem(context, :quiet), [1, 11])
      assert_received {:event, [_, :violation], %{cost: 11}, %{limiter: :quiet}}
      refute_received {:event, [_, :check], _, _}
    end
  end

  describe "enter/3 and finish/2" do
    test "keep a call in flight until it finishes, and count it once", context do
      %{table: table, work: work} = context
      assert {:ok, permit} = Gate.enter(work, "a", 1)
      assert Gate.counts(work.gate).in_flight == 1
      advance(table, 40)
      assert Gate.finish(permit, :ok)
      refute Gate.finish(permit, :ok)
      assert Gate.counts(work.gate).in_flight == 0
      assert {%Work{ok: 1, latency: %{sum_us: 40_000}}, %Work{ok: 0}} = Gate.drain(work.gate)
    end

    test "accept an id of any size, and deny by the limit", %{work: work} do
      assert {:ok, permit} = Gate.enter(work, @large, 8)

      assert {:error, :rate_limited, %Usage{window: :rate, remaining: 2}} =
               Gate.enter(work, @large, 3)

      assert Gate.counts(work.gate).in_flight == 1
      Gate.finish(permit, :ok)
    end

    test "deny calls above the guard, with a retry when one of those in flight should finish",
         context do
      %{work: work} = context
      Gate.set_guard(work.gate, 4)
      permits = for _ <- 1..4, do: work |> Gate.enter("a", 1) |> elem(1)
      assert {:error, :rate_limited, usage} = Gate.enter(work, "a", 5)

      # A hundred milliseconds for each call, before any was measured.
      assert %Usage{
               limiter: :work,
               window: :in_flight,
               max: 4,
               current: 4,
               remaining: 0,
               cost: 5,
               next_after_ms: 25,
               retry_after_ms: 25
             } = usage

      for {mean_ms, retry_after_ms} <- [{12.0, 3}, {13.0, 4}, {0.5, 1}] do
        Subsystem.put_mean_ms(work, mean_ms)
        assert {:error, _, %Usage{retry_after_ms: ^retry_after_ms}} = Gate.enter(work, "a", 5)
      end

      # Denied calls took nothing.
      assert Gate.usage(work).current == 4
      Gate.set_guard(work.gate, :infinity)
      assert {:ok, permit} = Gate.enter(work, "a", 5)
      assert %{guarded: 4, guard: :infinity, in_flight: 5} = Gate.counts(work.gate)
      for permit <- [permit | permits], do: Gate.finish(permit, :none)
    end

    test "emit an event of the admitted and of the denied call", %{work: work} do
      Events.listen([[:rate_limiter, :check], [:rate_limiter, :violation]])
      Gate.set_guard(work.gate, 1)
      {:ok, permit} = Gate.enter(work, "a", 1)
      assert_received {:event, [_, :check], %{cost: 1}, %{result: :allowed}}
      {:error, _, _} = Gate.enter(work, "a", 1)
      assert_received {:event, [_, :check], _, %{result: :denied, window: :in_flight}}
      assert_received {:event, [_, :violation], _, %{window: :in_flight}}
      Gate.finish(permit, :ok)
    end

    test "of a part count in the whole, and stop at its room", context do
      [whole, part] = for name <- [:whole, :part], do: subsystem(context, name)
      Gate.set_room(part.gate, 2)
      {:ok, first} = Gate.enter(part, "a", 1)
      {:ok, second} = Gate.enter(whole, "a", 1)

      assert {:error, :rate_limited, %Usage{window: :in_flight, max: 2}} =
               Gate.enter(part, "a", 1)

      assert Gate.counts(whole.gate).in_flight == 2
      Gate.set_room(part.gate, :infinity)
      {:ok, third} = Gate.enter(part, "a", 1)
      Gate.finish(first, :ok)
      assert %{in_flight: 2} = Gate.counts(whole.gate)
      assert {%Work{ok: 1}, _} = Gate.drain(whole.gate)
      assert {%Work{ok: 1}, _} = Gate.drain(part.gate)
      for permit <- [second, third], do: Gate.finish(permit, :none)
    end
  end

  test "drain/1 separates work that began before the last cut, and returns each call once",
       context do
    %{table: table, work: %{gate: gate}} = context
    before = Gate.hold(gate)
    advance(table, 5)
    Gate.cut(gate)
    Gate.finish(before, :timeout)
    Gate.record(gate, :ok, 3_000)
    Gate.record(gate, :error, 1)
    Gate.record(gate, :rejected, 1)

    assert Gate.drain(gate) ==
             {%Work{
                ok: 1,
                errors: 1,
                rejected: 1,
                latency: Histogram.record(%Histogram{}, 3_000)
              }, %Work{timeouts: 1, waited_us: 5_000}}

    assert Gate.drain(gate) == {%Work{}, %Work{}}
  end

  describe "a limiter without a gate" do
    test "is checked and refunded" do
      clock = Store.manual_clock(0)

      {limiter, owner} =
        Gate.new_limiter(RateLimiter.Core.Limit.new!([limit: 5, per: :hour], []), :none, clock)

      assert {:ok, :none, 5, 1, _, _, 0, 1_000_000, _, _} = Gate.take(limiter, "a", 4)
      assert {:rate_limited, :none, 5, 1, _, _, _, 1_000_000, _, _} = Gate.take(limiter, "a", 2)
      assert Gate.give_back(limiter, "a", 4) == :ok
      assert {:ok, _, _, 2, _, _, _, _, _, _} = Gate.take(limiter, "a", 3)
      assert {:ok, _, _, 5, _, _, _, _, _, _} = Gate.take(limiter, "b", 0)
      Store.drop(owner)
      assert_raise ArgumentError, ~r/has stopped/, fn -> Gate.take(limiter, "a", 1) end
      # The limits of a stopped instance need nothing back.
      assert Gate.give_back(limiter, "a", 1) == :ok
    end
  end

  test "usage/1 is that of all callers, and takes nothing", %{work: work} do
    for id <- ["a", "b"], do: Gate.check(work, id, 2)
    assert %Usage{limiter: :work, window: :rate, cost: 0, max: 10} = usage = Gate.usage(work)
    assert Gate.usage(work) == usage
    gone = %{work | limiter: 2 ** 61 + 2 ** 40}
    assert_raise ArgumentError, ~r/has stopped/, fn -> Gate.usage(gone) end
  end

  test "set_scale/2 scales the limit, down to one part in a million", %{work: work} do
    assert Gate.scale(work.limiter) == 1.0

    for {scale, in_force} <- [{0.5, 0.5}, {2, 2.0}, {0.0, 0.000001}, {0.1234564, 0.123456}] do
      assert Gate.set_scale(work.limiter, scale) == :ok
      assert Gate.scale(work.limiter) == in_force
    end

    gone = 2 ** 61 + 2 ** 40
    assert {Gate.set_scale(gone, 0.5), Gate.scale(gone)} == {:ok, 1.0}
  end

  test "counts/1 has the settings of the gate", %{work: %{gate: gate}} do
    assert %{guard: :infinity, open: 1.0} = Gate.counts(gate)
    Gate.set_guard(gate, 7)

    for {open, in_force} <- [{0.25, 0.25}, {3.0, 1.0}] do
      Gate.set_open(gate, open)
      assert %{guard: 7, open: ^in_force} = Gate.counts(gate)
    end

    Gate.set_guard(gate, :infinity)
    assert %{guard: :infinity} = Gate.counts(gate)
  end

  test "counts/1 counts a call as abandoned whose permit was lost", %{work: work} do
    test = self()
    {pid, ref} = spawn_monitor(fn -> send(test, Gate.enter(work, "a", 1)) end)
    assert_receive {:ok, _permit}, 30_000
    assert_receive {:DOWN, ^ref, :process, ^pid, :normal}, 30_000
    :erlang.garbage_collect()
    RateLimiter.Support.Eventually.eventually(fn -> Gate.counts(work.gate).abandoned == 1 end)
    assert %{in_flight: 0} = Gate.counts(work.gate)
  end
end
