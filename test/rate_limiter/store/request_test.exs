defmodule RateLimiter.Store.RequestTest do
  # Requests in flight: the wait for an answer, and its end without one.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Core.Native
  alias RateLimiter.Store.Request
  alias RateLimiter.Support.Redis

  @take {:take, 1, nil, nil}

  setup %{test: name} do
    server = Redis.start!()

    start_supervised!(
      {RateLimiter,
       name: name,
       store: {:redis, url: Redis.url(server), timeout: 20_000},
       limiters: [{name, windows: [w: [limit: 10, per: {30, :day}]]}]}
    )

    eventually(fn -> RateLimiter.health_check(name) == :ok end)
    {:ok, limiter: name, server: server}
  end

  defp mailbox, do: self() |> Process.info(:messages) |> elem(1)

  defp in_flight(limiter) do
    assert {:sent, ticket, wait_ms} = Native.request(limiter, "u", [], @take)
    # The wait is longer than the deadline, by which the native library answers.
    assert wait_ms > 20_000
    ticket
  end

  test "a request that is cancelled in time is never answered", context do
    %{limiter: limiter, server: server} = context
    Redis.freeze(server)
    ticket = in_flight(limiter)
    assert Native.await(ticket, make_ref()) == :waiting
    assert Native.cancel(ticket) == :cancelled
    assert Native.cancel(ticket) == :cancelled
    Redis.thaw(server)
    eventually(fn -> RateLimiter.stats(limiter).pending == 0 end)
    # A later request is answered after it.
    assert {:ok, :all, :redis, _, :w, [{:w, 10, 8, _, _, 0}], _, _} =
             Request.one(limiter, "u", [], @take)

    assert mailbox() == []
  end

  test "a request that is cancelled too late has its answer in the mailbox", context do
    %{limiter: limiter, server: server} = context
    Redis.freeze(server)
    ticket = in_flight(limiter)
    reference = make_ref()
    assert Native.await(ticket, reference) == :waiting
    Redis.thaw(server)
    assert_receive {^reference, {:ok, :all, :redis, _, :w, [{:w, 10, 9, _, _, 0}], _, _}}, 30_000
    assert Native.cancel(ticket) == :answered
  end

  test "an answer that arrives before the wait is returned without a message", context do
    %{limiter: limiter, server: server} = context
    # Otherwise Redis may answer before the request returns, which then needs no wait.
    Redis.freeze(server)
    ticket = in_flight(limiter)
    Redis.thaw(server)
    eventually(fn -> RateLimiter.stats(limiter).pending == 0 end)

    assert {:ok, :all, :redis, _, :w, [{:w, 10, 9, _, _, 0}], _, _} =
             Native.await(ticket, make_ref())

    assert mailbox() == []
    assert_raise ArgumentError, fn -> Native.await(ticket, make_ref()) end
  end

  test "a batch waits for the last of its answers", %{limiter: limiter, server: server} do
    Redis.freeze(server)
    entries = [{"u", 1}, {"v", 2}, {"u", 3}]

    assert {{:sent, ticket, _wait_ms}, []} =
             Native.request_batch(limiter, entries, [], :take, nil)

    reference = make_ref()
    assert Native.await(ticket, reference) == :waiting
    Redis.thaw(server)
    assert_receive {^reference, answers}, 30_000

    assert [[{:w, 10, 9, _, _, 0}], [{:w, 10, 8, _, _, 0}], [{:w, 10, 6, _, _, 0}]] =
             Enum.map(answers, &elem(&1, 5))
  end

  test "a large shared batch is sent in parts", %{limiter: limiter} do
    entries = List.duplicate({"u", 0}, 257)
    assert {_sent, [{"u", 0}]} = Native.request_batch(limiter, entries, [], :peek, nil)
    assert length(Request.batch(limiter, entries, [], {:peek, nil})) == 257
    large = {Enum.to_list(1..100_000), 1}
    assert [first, second] = Request.batch(limiter, [large, large], :w, {:take, nil})
    assert {elem(first, 2), elem(second, 2)} == {:redis, :redis}

    assert {[{:w, 10, 9, _, _, 0}], [{:w, 10, 8, _, _, 0}]} = {elem(first, 5), elem(second, 5)}
  end

  test "a caller that stops waiting is answered by this node", context do
    %{limiter: limiter, server: server} = context
    Redis.freeze(server)
    ticket = in_flight(limiter)
    assert Native.cancel(ticket) == :cancelled

    assert {:ok, :all, :fallback, _, :w, [{:w, 10, 9, _, _, 0}], _, _} =
             Native.request_alone(limiter, "u", [], @take)

    Redis.thaw(server)
    # Both count, because it is unknown which of them the caller used.
    eventually(fn ->
      match?({:ok, %{source: :redis, remaining: 8}}, RateLimiter.get_usage(limiter, "u", :w))
    end)
  end

  test "a limiter that was removed is unknown", %{limiter: limiter} do
    handle = Native.handle(limiter)
    :ok = RateLimiter.remove_limiter(limiter)

    for removed <- [limiter, handle, 2 ** 61 + 2 ** 40] do
      assert Native.check(removed, "u", :w, 1) == :unknown_limiter
      assert Native.request(removed, "u", [], @take) == :unknown_limiter
      assert Native.request_batch(removed, [], [], :take, nil) == :unknown_limiter
      assert Native.request_alone(removed, "u", [], @take) == :unknown_limiter
      assert Native.plan(removed) == :unknown_limiter
      assert Native.stats(removed) == :unknown_limiter
    end

    assert_raise ArgumentError, fn -> Request.one(limiter, "u", [], @take) end
  end
end
