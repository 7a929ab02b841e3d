defmodule RateLimiter.SchedulerTest do
  # Not at once with other tests: the runtime is left with one scheduler, so that whoever keeps it is noticed.
  use ExUnit.Case, async: false

  alias RateLimiter.{Instance, Store}
  alias RateLimiter.Core.Native

  setup do
    online = :erlang.system_flag(:schedulers_online, 1)
    on_exit(fn -> :erlang.system_flag(:schedulers_online, online) end)
  end

  describe "a batch of very many" do
    test "leaves the scheduler to others, who can watch it work" do
      config =
        Instance.Config.limiter!([windows: [w: [limit: 10, per: :day]]], [:limiters, :busy])

      {:ok, handle, owner} = Store.new_limiter(config, :monotonic)
      entries = for n <- 1..300_000, do: {n, 1}

      # The one scheduler is ours: who is seen to run meanwhile runs beside it. Where the machine leaves us no time while
      # a batch runs, it is over before we look: then the next one is looked at.
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

    test "is what more than 128 entries are" do
      RateLimiter.Test.start(limiters: [busy: [windows: [w: [limit: 10, per: :day]]]])

      small = List.duplicate({"u", 1}, 128)
      assert called_by(fn -> RateLimiter.check_batch(:busy, small, :w) end) == :request_batch

      large = List.duplicate({"u", 1}, 129)

      assert called_by(fn -> RateLimiter.check_batch(:busy, large, :w) end) ==
               :request_batch_dirty
    end
  end

  defp seen_running(pid) do
    case Process.info(pid, [:status, :current_function]) do
      nil -> false
      [status: :running, current_function: {Native, _function, 4}] -> true
      _not_yet -> seen_running(pid)
    end
  end

  # Which of the two a call ends in.
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
