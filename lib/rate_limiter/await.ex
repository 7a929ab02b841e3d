defmodule RateLimiter.Await do
  @moduledoc false
  # Calls that wait for their limit.
  #
  # The caller itself asks and sleeps; `RateLimiter.Await.Queue` only keeps the order. So a slow store blocks no other
  # caller, a test's limiters are found as for any call, and a caller that is killed while it waits has taken nothing.

  alias RateLimiter.{Instance, Store, Test, Usage}
  alias RateLimiter.Await.Queue
  alias RateLimiter.Core.{Errors, Limit, Plan}
  alias RateLimiter.Store.Lookup

  # A limit may be raised or an id be reset meanwhile, so a caller looks again before its time has come.
  @look_again_ms 1_000

  # The clock of a test is moved by hand, at any moment.
  @look_again_test_ms 5

  @type timeout_ms :: non_neg_integer | :infinity

  @doc "Takes `cost` from the windows, as soon as they have it."
  @spec call(atom, RateLimiter.id(), Lookup.names(), integer, timeout_ms, Plan.chosen()) ::
          {:ok, Usage.t()} | {:error, :timeout, Usage.t()}
  def call(limiter, id, windows, cost, timeout, plan)
      when is_atom(limiter) and is_integer(cost) do
    key = {Lookup.handle!(limiter), id, windows |> Lookup.valid!() |> order()}

    call = %{
      limiter: limiter,
      id: id,
      windows: windows,
      cost: cost,
      plan: plan,
      deadline: deadline(timeout)
    }

    case Queue.ahead(key) do
      {0, _none} -> first(call, key)
      {_callers, ahead} -> queue(call, key, wait(call, ahead))
    end
  end

  def call(limiter, _id, _windows, cost, _timeout, _plan),
    do: raise(Errors.bad_call(limiter, cost))

  defp first(call, key) do
    with {:error, _denied, usage} <- check(call), do: queue(call, key, usage)
  end

  defp queue(call, key, usage) do
    with true <- in_time?(usage, call),
         {:ok, answer} <- Queue.in_turn(key, call.cost, left(call), fn -> look(call) end) do
      answer
    else
      false -> {:error, :timeout, usage}
      :timeout -> {:error, :timeout, wait(call, elem(Queue.ahead(key), 1))}
    end
  end

  defp sleep(call, usage) do
    pause = if Test.Registry.limiter(call.limiter), do: @look_again_test_ms, else: @look_again_ms

    cond do
      not in_time?(usage, call) ->
        {:error, :timeout, usage}

      usage.retry_after_ms > pause ->
        Process.sleep(pause)
        look(call)

      true ->
        Process.sleep(usage.retry_after_ms)
        take(call)
    end
  end

  # Unlike a check, a look that finds too little is not counted as a denial.
  defp look(call) do
    case peek(call, call.cost) do
      {:ok, _usage} -> take(call)
      {:error, _denied, usage} -> sleep(call, usage)
    end
  end

  defp take(call) do
    with {:error, _denied, usage} <- check(call), do: sleep(call, usage)
  end

  defp check(call),
    do: Store.check_under(call.limiter, call.id, call.windows, call.cost, call.plan)

  defp peek(call, cost),
    do: Store.peek(call.limiter, call.id, call.windows, cost, call.plan)

  defp peeked(call, cost) do
    case peek(call, cost) do
      {:ok, usage} -> usage
      {:error, _denied, usage} -> usage
    end
  end

  ## How long it takes until `ahead` was taken by others, and then the cost of this call

  # The usage of this call, with the least time that it has to wait.
  defp wait(call, ahead) do
    usage = peeked(call, call.cost)
    wait_ms = wait_ms(call, usage, ahead)
    if wait_ms > usage.retry_after_ms, do: %{usage | retry_after_ms: wait_ms}, else: usage
  end

  # A cost that can never be admitted, or its words after a negative one, have no turn to wait for.
  defp wait_ms(_call, %Usage{retry_after_ms: :infinity}, _ahead), do: :infinity

  defp wait_ms(call, usage, ahead) do
    total = ahead + call.cost
    parts = if usage.windows == %{}, do: [usage], else: Map.values(usage.windows)
    most = parts |> Enum.map(& &1.max) |> Enum.min()
    at_once = peeked(call, min(total, most)).retry_after_ms
    limits = Instance.Plans.windows!(call.limiter, call.plan)
    Enum.max([at_once | for(part <- parts, total > part.max, do: beyond(part, total, limits))])
  end

  # More than the window holds at any one time.
  defp beyond(%Usage{max: max} = usage, total, limits) do
    limit = limits[usage.window]
    per_ms = div(Limit.nanoseconds(limit.per), 1_000_000)

    case limit.algorithm do
      :token_bucket ->
        usage.reset_after_ms + trunc((total - max) * per_ms / (limit.limit * usage.scale))

      # Not more than the maximum is admitted in one period.
      _window ->
        div(total - usage.remaining - 1, max) * per_ms
    end
  end

  ## Time

  # `:infinity` is greater than any number.
  defp in_time?(%Usage{retry_after_ms: :infinity}, _call), do: false
  defp in_time?(%Usage{retry_after_ms: wait_ms}, call), do: wait_ms <= left(call)

  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: now() + timeout

  defp left(%{deadline: :infinity}), do: :infinity
  defp left(%{deadline: deadline}), do: max(deadline - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)

  # Windows in another order are the same windows.
  defp order([window]), do: window
  defp order(windows) when is_list(windows), do: Enum.sort(windows)
  defp order(window), do: window
end
