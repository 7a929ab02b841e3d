defmodule RateLimiter.SchedulerTest do
  # Batches and schedulers. Not async, because the runtime is left with one scheduler.
  use ExUnit.Case, async: false

  alias RateLimiter.{Instance, Store}
  alias RateLimiter.Core.Native

  setup do
    online = :erlang.system_flag(:schedulers_online, 1)
    on_exit(fn -> :erlang.system_flag(:schedulers_online, online) end)
  end

  describe "a large batch" do
    test "leaves the scheduler to other processes" do
      config =
        Instance.Config.limiter!([windows: [w: [limit: 10, per: :day]]], [:limiters, :busy])

      {:ok, handle, owner} = Store.new_limiter(config, :monotonic)
      entries = for n <- 1..300_000, do: {n, 1}

      # This process has the one scheduler, so the batch that it sees running is on another. On a busy machine a batch may
      # be over before this process runs again: then the next batch is observed.
      assert Enum.any?(1..100, fn _batch ->
               batch =
                 Task.async(fn ->
                   length(Native.request_batch_dirty(handle, entries, [:w], :take))
                 end)

               seen? = seen_running(batch.pid)
               assert Task.await(batch, :infinity) == 300_000
               seen?
             end)

      Native.drop(owner)
    end

    test "has more than 128 entries" do
      RateLimiter.Test.start(limiters: [busy: [windows: [w: [limit: 10, per: :day]]]])

      small = List.duplicate({"u", 1}, 128)
      assert called_by(fn -> RateLimiter.check_batch(:busy, small, :w) end) == :request_batch

      large = List.duplicate({"u", 1}, 129)

      assert called_by(fn -> RateLimiter.check_batch(:busy, large, :w) end) ==
               :request_batch_dirty
    end
  end

  test "the windows of a batch count, too" do
    windows = [w: [limit: 10, per: :day], v: [limit: 10, per: :day]]
    config = Instance.Config.limiter!([windows: windows], [:limiters, :busy])
    {:ok, handle, owner} = Store.new_limiter(config, :monotonic)

    for {windows, most} <- [{[:w], 128}, {[:w, :v], 64}, {[], 64}] do
      entries = List.duplicate({"u", 0}, most)
      assert length(Native.request_batch(handle, entries, windows, :peek)) == most
      entries = [{"u", 0} | entries]
      assert Native.request_batch(handle, entries, windows, :peek) == :dirty
      assert length(Native.request_batch_dirty(handle, entries, windows, :peek)) == most + 1
    end

    Native.drop(owner)
  end

  defp seen_running(pid) do
    case Process.info(pid, [:status, :current_function]) do
      nil -> false
      [status: :running, current_function: {Native, _function, 4}] -> true
      _not_yet -> seen_running(pid)
    end
  end

  # The native function that a call ends in.
  defp called_by(call) do
    test = self()

    tracer =
      spawn_link(fn ->
        receive do
          {:trace, ^test, :call, {Native, function, _arguments}} ->
            send(test, {:called, function})
        end
      end)

    for name <- [:request_batch, :request_batch_dirty],
        do: :erlang.trace_pattern({Native, name, 4}, true, [])

    :erlang.trace(test, true, [:call, {:tracer, tracer}])
    call.()
    :erlang.trace(test, false, [:call])
    :erlang.trace_pattern({Native, :_, :_}, false, [])
    assert_receive {:called, function}, 30_000
    function
  end
end
