defmodule RateLimiter.Test.ClockTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [for_all: 3]

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.{Algedonic, Instance, Store}
  alias RateLimiter.Support.ScriptedLaw
  alias RateLimiter.Test.{Clock, Registry}
  alias RateLimiter.VSM.{Gate, Tree}

  @ns 1_000_000
  @day 86_400_000

  setup %{test: key} do
    law = ScriptedLaw.options(self(), key: key)
    test = self()
    measure = fn -> send(test, :measured) && 0 end

    RateLimiter.Test.start(
      vsm: [
        subsystems: [work: [limit: 10, per: :second, law: law]],
        sensors: [pool: [measure: measure, ok: 1, warn: 2, crit: 3]]
      ]
    )

    %Instance{subsystems: table, clock: clock} = Registry.instance()
    {:ok, table: table, clock: clock, start: now_ms(clock)}
  end

  defp now_ms(clock), do: div(Store.manual_clock_now(clock), @ns)
  defp advance(%{table: table, clock: clock}, ms), do: Clock.advance(table, clock, ms * @ns)

  # When the law has stepped, in milliseconds since the start.
  defp steps(%{test: key, start: start} = context) do
    receive do
      {:step, ^key, _observation, now_ms} -> [now_ms - start | steps(context)]
    after
      0 -> []
    end
  end

  describe "advance/3" do
    test "steps at each interval that the clock passes, and ends at the new time", context do
      advance(context, 999)
      assert steps(context) == []
      advance(context, 1)
      assert steps(context) == [1_000]
      advance(context, 2_500)
      assert steps(context) == [2_000, 3_000]
      # The sensors are read in each step.
      for _ <- 1..3, do: assert_received(:measured)
      refute_received :measured
      assert now_ms(context.clock) - context.start == 3_500
      advance(context, 499)
      assert steps(context) == []
      advance(context, 0)
      advance(context, 1)
      assert steps(context) == [4_000]
    end

    test "steps at the same times, however the time is divided", context do
      for_all seed, 20 do
        :rand.seed(:exsss, seed)
        # From a full second, five seconds in random parts.
        advance(context, 10_000 - rem(now_ms(context.clock) - context.start, 10_000))
        steps(context)
        context = %{context | start: now_ms(context.clock)}
        cuts = for _ <- 1..:rand.uniform(8), do: :rand.uniform(5_001) - 1
        parts = Enum.sort([0, 5_000 | cuts])

        for [from, to] <- Enum.chunk_every(parts, 2, 1, :discard), do: advance(context, to - from)

        assert steps(context) == [1_000, 2_000, 3_000, 4_000, 5_000]
      end
    end

    test "takes a thousand steps at most, which are then longer", context do
      advance(context, @day)
      steps = steps(context)
      # A step of 87 seconds.
      assert steps == Enum.map(1..993, &(&1 * 87_000))
      assert now_ms(context.clock) - context.start == @day
      # The rest belongs to the next move.
      advance(context, 1_000)
      assert [86_392_000 | _] = steps(context)
    end

    test "takes a thousand steps of an interval for a thousand intervals", context do
      advance(context, 1_000_000)
      assert length(steps(context)) == 1_000
      advance(context, 1_001_000)
      assert length(steps(context)) == 500
    end

    test "takes requested urgent steps before it moves", context do
      Algedonic.pain(:work, 1.0, source: :probe)
      advance(context, 10)
      assert steps(context) == [0]
    end

    test "applies each decision before the next step, and returns after the last one", context do
      test = self()
      limiter = Tree.subsystem!(RateLimiter, :work).limiter

      ScriptedLaw.say(context.test, fn %{steps: steps}, _observation ->
        send(test, {:in_force, Gate.scale(limiter)})
        %Decision{scale: 1 - (steps + 1) / 10}
      end)

      advance(context, 3_000)
      assert Gate.scale(limiter) == 0.7
      for scale <- [1.0, 0.9, 0.8], do: assert_received({:in_force, ^scale})
    end
  end

  describe "step/1 and await/1" do
    test "return after a step of the controller", %{table: table} = context do
      assert Clock.step({:controller, table, :work}) == :ok
      assert steps(context) == [0]
      send(Instance.Registry.whereis({:controller, table, :work}), :urgent)
      assert Clock.await({:controller, table, :work}) == :ok
      assert steps(context) == [0]
    end

    test "exit if there is no such process", %{table: table} do
      assert {:noproc, _call} = catch_exit(Clock.await({:controller, table, :none}))
      assert {:noproc, _call} = catch_exit(Clock.step({:controller, table, :none}))
    end
  end
end
