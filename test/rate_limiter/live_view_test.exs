defmodule RateLimiter.LiveViewTest do
  # With the stand-in of test/support/phoenix, or with the real LiveView.
  use ExUnit.Case, async: true

  alias Phoenix.LiveView.{Lifecycle, Socket}

  setup do
    RateLimiter.Test.start(
      limiters: [
        events: [windows: [burst: [limit: 2, per: :second]]],
        search: [windows: [burst: [limit: 1, per: :second]]]
      ]
    )
  end

  defp mounted(options, user \\ 7) do
    socket = %Socket{
      assigns: %{__changed__: %{}, flash: %{}, user: user},
      private: %{lifecycle: %Lifecycle{}, live_temp: %{}}
    }

    options = [id: & &1.assigns.user] ++ options
    {:cont, socket} = RateLimiter.LiveView.on_mount(options, %{}, %{}, socket)
    socket
  end

  defp event(socket), do: Lifecycle.handle_event("save", %{}, socket)

  test "an event that is denied is halted with a flash message, and one on time continues" do
    socket = mounted(limiter: :events)
    assert {:cont, socket} = event(socket)
    assert {:cont, socket} = event(socket)
    assert {:halt, halted} = event(socket)
    assert halted.assigns.flash == %{"error" => "Too many requests. Try again in 1 s."}
    assert {:cont, _socket} = event(mounted([limiter: :events], 8))

    RateLimiter.Test.advance(500)
    assert {:cont, %{assigns: %{flash: flash}}} = event(socket)
    assert flash == %{}
  end

  test "an event that can never be admitted has no time to retry" do
    assert {:halt, socket} = event(mounted(limiter: :events, cost: 3))
    assert socket.assigns.flash == %{"error" => "Too many requests."}
  end

  test "on_deny decides what the client sees" do
    busy = fn socket, {:error, :rate_limited, usage} ->
      put_in(socket.assigns.user, usage.retry_after_ms)
    end

    socket = mounted(limiter: :search, on_deny: busy)
    {:cont, socket} = event(socket)
    assert {:halt, %{assigns: %{user: 1_000}}} = event(socket)
  end

  test "hooks for several limiters are checked in order" do
    socket = mounted(limiter: :events)

    {:cont, socket} =
      RateLimiter.LiveView.on_mount([limiter: :search, id: & &1.assigns.user], %{}, %{}, socket)

    assert {:cont, socket} = event(socket)
    assert {:halt, _socket} = event(socket)
    assert {:ok, %{remaining: 0}} = RateLimiter.get_usage(:events, 7)
  end

  test "refuses what no event could use" do
    for {options, message} <- [
          {[limiter: :events], "id: is required, expected a function of the socket"},
          {[id: &Function.identity/1], "limiter: is required"},
          {[limiter: :events, id: 7], "id: expected a function of the socket, got: 7"},
          {[limiter: :events, id: &Function.identity/1, on_deny: :flash],
           "on_deny: expected a function"}
        ] do
      assert_raise ArgumentError, ~r/^#{Regex.escape(message)}/, fn ->
        RateLimiter.LiveView.on_mount(options, %{}, %{}, %Socket{})
      end
    end
  end
end
