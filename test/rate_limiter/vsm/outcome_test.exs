defmodule RateLimiter.VSM.OutcomeTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Usage
  alias RateLimiter.VSM.Outcome

  test "without a judge only {:error, reason} is an error" do
    assert Outcome.of_result({:error, :nxdomain}, nil) == :error

    for result <- [:ok, {:ok, 1}, nil, :error, {:error, 1, 2}, [], "error"],
        do: assert(Outcome.of_result(result, nil) == :ok)
  end

  test "a denial by a limiter says nothing of the resource" do
    usage = Usage.from_window({:ok, 1, 10, 0, 0, 0, 0, 0, 0, 0}, :api, :minute, 1)
    assert Outcome.of_result({:error, :rate_limited, usage}, nil) == :none
    assert Outcome.of_result({:error, :rate_limited, :other}, nil) == :ok
  end

  test "a judge is given the result, and its outcome is taken" do
    for outcome <- [:ok, :error, :timeout, :rejected, :none] do
      assert Outcome.of_result(outcome, & &1) == outcome
      assert Outcome.of_result({:error, :ignored}, outcome) == outcome
    end
  end

  test "a judge that returns no outcome is an error of the caller" do
    for other <- [nil, true, {:error, 1}, "ok"] do
      error = assert_raise ArgumentError, fn -> Outcome.of_result(other, & &1) end
      assert error.message =~ "outcome: expected"
      assert error.message =~ inspect(other)
    end
  end

  test "the shutdown of a caller does not count as an outcome of the resource, in any form of its reason" do
    for reason <- [:normal, :shutdown],
        exit <- [reason, {reason, {GenServer, :call, []}}],
        do: assert(Outcome.of_end(:exit, exit) == :none)

    assert Outcome.of_end(:exit, {{:shutdown, :x}, {GenServer, :call, []}}) == :none
  end

  test "the timeout of a real call is a timeout, of any other failure an error" do
    {:ok, silent} = Agent.start_link(fn -> nil end)
    :sys.suspend(silent)
    timeout = catch_exit(GenServer.call(silent, :x, 1))
    assert Outcome.of_end(:exit, timeout) == :timeout
    assert Outcome.of_end(:exit, :timeout) == :timeout

    for {kind, reason} <- [exit: :noproc, exit: {:noproc, {}}, error: :timeout, throw: :normal],
        do: assert(Outcome.of_end(kind, reason) == :error)
  end
end
