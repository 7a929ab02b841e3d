defmodule RateLimiter.VectorsTest do
  # The vectors that every implementation answers alike (test/vectors/README.md), through the public API.
  use ExUnit.Case, async: true

  alias RateLimiter.{Test, Usage}
  alias RateLimiter.Core.Native
  alias RateLimiter.Store.Vectors

  for name <- ["derived.txt", "modelled.txt"] do
    file = Path.expand("../vectors/#{name}", __DIR__)
    @external_resource file

    describe name do
      for {vector, at} <- file |> Vectors.cases() |> Enum.with_index() do
        @vector vector
        @limiter :"vector_#{Path.rootname(name)}_#{at}"

        test vector.title do
          Test.start(limiters: [{@limiter, windows: @vector.windows, events: :none}])
          order = Keyword.keys(@vector.windows)

          for {line, ms, step, expected} <- @vector.steps do
            Test.set(DateTime.from_unix!(@vector.start + ms, :millisecond))
            answered = @limiter |> call(step) |> words(order)
            assert {line, answered} == {line, expected}
          end
        end
      end
    end
  end

  # One window is passed by its name, several as a list, so that both forms are tested.
  defp call(limiter, ["check", id, names, cost]) do
    RateLimiter.check_and_track(limiter, id, named(names), cost: String.to_integer(cost))
  end

  defp call(limiter, ["peek", id, names, cost]),
    do: RateLimiter.peek(limiter, id, named(names), cost: String.to_integer(cost))

  defp call(limiter, ["refund", id, names, cost]),
    do: RateLimiter.refund(limiter, id, named(names), cost: String.to_integer(cost))

  defp call(limiter, ["reset", id, names]) do
    for window <- Vectors.windows(names), do: :ok = RateLimiter.reset(limiter, id, window)
    :ok
  end

  defp call(limiter, ["update_limit", window | options]),
    do: RateLimiter.update_limit(limiter, Vectors.atom(window), Vectors.options(options))

  # The public API has no scale: the controllers of subsystems set it.
  defp call(limiter, ["set_scale", ppm]),
    do: limiter |> Test.Registry.limiter() |> Native.set_scale(String.to_integer(ppm))

  defp named(names) do
    case Vectors.windows(names) do
      [window] -> window
      windows -> windows
    end
  end

  defp words(:ok, _order), do: []
  defp words({:ok, usage}, order), do: ["allowed" | rows(usage, order)]
  defp words({:error, :rate_limited, usage}, order), do: ["denied" | rows(usage, order)]

  defp rows(%Usage{window: binding, windows: windows} = usage, _order) when windows == %{},
    do: [to_string(binding), row(usage)]

  defp rows(%Usage{window: binding, windows: windows}, order) do
    asked = Enum.filter(order, &is_map_key(windows, &1))
    [to_string(binding) | Enum.map(asked, &row(windows[&1]))]
  end

  defp row(%Usage{} = usage) do
    assert usage.current == usage.max - usage.remaining

    times = [usage.next_after_ms, usage.reset_after_ms, usage.retry_after_ms]
    Enum.join([usage.window, usage.max, usage.remaining | times], ":")
  end
end
