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
    %{name: name, instance: Registry.instance(name)}
  end

  # As if UTC had moved by so much since the start.
  defp moved(instance, ms), do: %{instance | utc_ahead_ms: instance.utc_ahead_ms - ms}

  # The ticks of a whole pass.
  defp pass(state) do
    Enum.reduce(1..100, state, fn _, state ->
      {:noreply, state} = Sweeper.handle_info(:tick, state)
      state
    end)
  end

  test "clocks that run together are no reason for anything", %{instance: instance, name: name} do
    assert abs(Clock.utc_ahead_ms() - instance.utc_ahead_ms) < @near
    assert Clock.apart_ms(instance) == 0
    assert RateLimiter.health_check(name) == :ok
    {:ok, state} = Sweeper.init(instance)
    assert pass(state).apart_ms == 0
    refute_received {:event, @event, _, %{instance: ^name}}
  end

  test "a suspend, or a clock that is set in either direction, is reported once", context do
    %{instance: instance, name: name} = context

    for ms <- [6 * @hour, -6 * @hour, 10_000, -10_000, 365 * 24 * @hour] do
      assert {:degraded, {:clock, apart}} = instance |> moved(ms) |> Reporter.health()
      assert_in_delta apart, ms, @near

      {:ok, state} = instance |> moved(ms) |> Sweeper.init()
      state = state |> pass() |> pass()
      assert_received {:event, @event, %{apart_ms: apart}, %{instance: ^name, reason: reason}}
      assert_in_delta apart, ms, @near
      assert reason =~ "Restart the instance"
      refute_received {:event, @event, _, %{instance: ^name}}

      # A further move, and back.
      state = pass(%{state | instance: moved(instance, ms + @hour)})
      assert_received {:event, @event, %{apart_ms: further}, %{instance: ^name}}
      assert_in_delta further, ms + @hour, @near
      pass(%{state | instance: instance})
      assert_received {:event, @event, %{apart_ms: 0}, %{instance: ^name}}
    end
  end

  test "a test's clock has no distance", %{instance: instance} do
    RateLimiter.Test.start(limiters: [])
    assert Clock.apart_ms(RateLimiter.Test.Registry.instance()) == 0
    assert Clock.apart_ms(%{moved(instance, @hour) | clock: :manual}) == 0
  end
end
