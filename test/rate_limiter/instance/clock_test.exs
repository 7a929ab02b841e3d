defmodule RateLimiter.Instance.ClockTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.Instance.{Clock, Registry, Reporter, Sweeper}

  @event [:rate_limiter, :clock]
  @hour 3_600_000
  # Readings of both clocks may differ by this, on any machine.
  @near 2_500

  setup do
    name = {__MODULE__, make_ref()}
    start_supervised!({RateLimiter, name: name})
    listen([@event])
    instance = Registry.instance(name)
    # The instance's own sweeper shares the cell.
    %{name: name, instance: %{instance | utc: Clock.new()}}
  end

  # As if UTC had moved ahead by so much since windows followed it.
  defp move(instance, ms), do: :atomics.sub(instance.utc, 1, ms)

  # The ticks of a whole pass.
  defp pass(state), do: Enum.reduce(1..100, state, fn _, state -> tick(state) end)

  defp tick(state) do
    {:noreply, state} = Sweeper.handle_info(:tick, state)
    state
  end

  test "a clock that is not set is no reason for anything", %{instance: instance, name: name} do
    assert Clock.moved_ms(instance) == 0
    assert RateLimiter.health_check(name) == :ok
    {:ok, state} = Sweeper.init(instance)
    state |> pass() |> pass()
    assert Clock.moved_ms(instance) == 0
    refute_received {:event, @event, _, %{instance: ^name}}
  end

  test "a clock that is set is reported once, until windows have followed it", context do
    %{instance: instance, name: name} = context
    {:ok, state} = Sweeper.init(instance)

    Enum.reduce([6 * @hour, -6 * @hour, 10_000, -10_000, 365 * 24 * @hour], state, fn ms, state ->
      move(instance, ms)
      assert {:degraded, {:clock, moved}} = Reporter.health(instance)
      assert_in_delta moved, ms, @near

      state = tick(state)
      assert_received {:event, @event, %{moved_ms: moved}, %{instance: ^name, reason: reason}}
      assert_in_delta moved, ms, @near
      assert reason =~ "Aligned windows follow"
      assert {:degraded, {:clock, _moved}} = Reporter.health(instance)

      # The rest of the pass, and one more.
      state = Enum.reduce(2..200, state, fn _, state -> tick(state) end)
      assert Reporter.health(instance) == :ok
      refute_received {:event, @event, _, %{instance: ^name}}
      state
    end)
  end

  test "a test's clock does not move", %{instance: instance} do
    RateLimiter.Test.start(limiters: [])
    assert Clock.moved_ms(RateLimiter.Test.Registry.instance()) == 0
    move(instance, @hour)
    assert Clock.moved_ms(%{instance | clock: :manual}) == 0
  end
end
