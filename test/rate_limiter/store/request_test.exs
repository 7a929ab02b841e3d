defmodule RateLimiter.Redis.AskTest do
  # The wait for an answer, where it ends before the answer comes.
  use ExUnit.Case, async: true

  alias RateLimiter.Core.Native
  alias RateLimiter.Store.Request
  alias RateLimiter.Support.Redis

  @take {:take, 1, nil}

  setup %{test: name} do
    server = Redis.start!()

    start_supervised!(
      {RateLimiter,
       name: name,
       store: {:redis, url: Redis.url(server), timeout: 20_000},
       limiters: [{name, windows: [w: [limit: 10, per: {30, :day}]]}]}
    )

    Redis.eventually(fn -> RateLimiter.health_check(name) == :ok end)
    {:ok, limiter: name, server: server}
  end

  defp mailbox, do: self() |> Process.info(:messages) |> elem(1)

  defp under_way(limiter, reference) do
    assert {:sent, ticket, wait_ms} = Native.remote_ask(limiter, reference, "u", :all, @take)
    # Longer than the deadline, which is kept by who answers.
    assert wait_ms > 20_000
    ticket
  end

  test "a call that is taken back in time is never answered", context do
    %{limiter: limiter, server: server} = context
    Redis.freeze(server)
    ticket = under_way(limiter, make_ref())
    assert Native.remote_cancel(ticket) == :left
    assert Native.remote_cancel(ticket) == :left
    Redis.thaw(server)
    Redis.eventually(fn -> RateLimiter.stats(limiter).pending == 0 end)
    # Whoever asks now is answered after it.
    assert {:ok, :all, :redis, _, :w, [{:w, 10, 8, _, 0}]} =
             Request.one(limiter, "u", :all, @take)

    assert mailbox() == []
  end

  test "a call that is taken back too late has its answer", %{limiter: limiter} do
    reference = make_ref()
    ticket = under_way(limiter, reference)
    assert_receive {^reference, {:ok, :all, :redis, _, :w, [{:w, 10, 9, _, 0}]}}, 30_000
    assert Native.remote_cancel(ticket) == :told
  end

  test "who waits no longer is answered by this node", %{limiter: limiter, server: server} do
    Redis.freeze(server)
    ticket = under_way(limiter, make_ref())
    assert Native.remote_cancel(ticket) == :left

    assert {:ok, :all, :fallback, _, :w, [{:w, 10, 9, _, 0}]} =
             Native.remote_alone(limiter, "u", :all, @take)

    Redis.thaw(server)
    # Both count: nobody knows which of them the caller went by.
    Redis.eventually(fn ->
      match?({:ok, %{source: :redis, remaining: 8}}, RateLimiter.get_usage(limiter, "u", :w))
    end)
  end

  test "a limiter that has just gone is unknown", %{limiter: limiter} do
    handle = Native.handle(limiter)
    :ok = RateLimiter.remove_limiter(limiter)

    for gone <- [limiter, handle] do
      assert Native.remote_ask(gone, make_ref(), "u", :all, @take) == :unknown_limiter
      assert Native.remote_ask_batch(gone, make_ref(), [], :all, :take) == :unknown_limiter
      assert Native.remote_alone(gone, "u", :all, @take) == :unknown_limiter
      assert Native.remote_plan(gone) == :unknown_limiter
      assert Native.remote_stats(gone) == :unknown_limiter
    end

    for gone <- [limiter, 2 ** 61 + 2 ** 40],
        do: assert(Request.one(gone, "u", :all, @take) == :unknown_limiter)
  end
end
