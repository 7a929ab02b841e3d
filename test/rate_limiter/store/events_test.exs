defmodule RateLimiter.Store.EventsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Store.Events

  test "a change of the breaker is an event that names the store" do
    test = self()
    handler = make_ref()

    :telemetry.attach(
      handler,
      [:rate_limiter, :circuit_breaker, :opened],
      fn _event, measurements, metadata, _ ->
        if metadata.instance == __MODULE__, do: send(test, {measurements, metadata})
      end,
      nil
    )

    state = {%RateLimiter.Instance{name: __MODULE__, table: nil}, MyApp.Store}
    message = {:store_breaker, :closed, :opened, "no answer within 50 ms"}
    assert Events.handle_info(message, state) == {:noreply, state}

    assert_received {%{count: 1},
                     %{server: "MyApp.Store", from: :closed, reason: "no answer within 50 ms"}}

    :telemetry.detach(handler)
  end
end
