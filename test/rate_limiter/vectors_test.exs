defmodule RateLimiter.VectorsTest do
  # The vectors that every implementation answers alike (test/vectors/README.md), through the public API.
  use ExUnit.Case, async: true

  alias RateLimiter.{Test, Usage}
  alias RateLimiter.Core.Native

  # The cases of a file with their windows and steps, each with its line number.
  defmodule Vectors do
    def cases(file) do
      file
      |> File.stream!()
      |> Enum.with_index(1)
      |> Enum.map(fn {line, number} -> {number, line |> code() |> String.split()} end)
      |> Enum.reject(fn {_number, words} -> words == [] end)
      |> Enum.chunk_while(nil, &chunk/2, &{:cont, finish(&1), nil})
      |> Enum.reject(&is_nil/1)
    end

    defp code(line), do: line |> String.split("#") |> hd()

    defp chunk({_number, ["case" | title]}, last) do
      {:cont, finish(last), %{title: Enum.join(title, " "), start: 0, windows: [], steps: []}}
    end

    defp chunk({_number, ["start", ms]}, acc), do: {:cont, %{acc | start: integer(ms)}}

    defp chunk({_number, ["window", name, algorithm | options]}, acc) do
      window = {atom(name), [{:algorithm, atom(algorithm)} | options(options)]}
      {:cont, %{acc | windows: [window | acc.windows]}}
    end

    defp chunk({number, ["at", ms | words]}, acc) do
      {call, expected} = Enum.split_while(words, &(&1 != "="))
      {:cont, %{acc | steps: [{number, integer(ms), call, Enum.drop(expected, 1)} | acc.steps]}}
    end

    defp finish(nil), do: nil

    defp finish(acc),
      do: %{acc | windows: Enum.reverse(acc.windows), steps: Enum.reverse(acc.steps)}

    def options(words), do: for(word <- words, do: word |> String.split("=") |> option())

    defp option(["per_ms", ms]), do: {:per, {integer(ms), :millisecond}}
    defp option(["aligned", aligned?]), do: {:aligned, aligned? == "true"}
    defp option([name, number]), do: {atom(name), integer(number)}

    def windows(names), do: names |> String.split(",") |> Enum.map(&atom/1)

    def integer(digits), do: String.to_integer(digits)

    # The files of this repository have few names.
    def atom(name), do: String.to_atom(name)
  end

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
    RateLimiter.check_and_track(limiter, id, named(names), cost: Vectors.integer(cost))
  end

  defp call(limiter, ["peek", id, names, cost]),
    do: RateLimiter.peek(limiter, id, named(names), cost: Vectors.integer(cost))

  defp call(limiter, ["refund", id, names, cost]),
    do: RateLimiter.refund(limiter, id, named(names), cost: Vectors.integer(cost))

  defp call(limiter, ["reset", id, names]) do
    for window <- Vectors.windows(names), do: :ok = RateLimiter.reset(limiter, id, window)
    :ok
  end

  defp call(limiter, ["update_limit", window | options]),
    do: RateLimiter.update_limit(limiter, Vectors.atom(window), Vectors.options(options))

  # The public API has no scale: the controllers of subsystems set it.
  defp call(limiter, ["set_scale", ppm]),
    do: limiter |> Test.Registry.limiter() |> Native.set_scale(Vectors.integer(ppm))

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
