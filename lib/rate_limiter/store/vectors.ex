defmodule RateLimiter.Store.Vectors do
  @moduledoc false
  # The cases that every implementation answers alike (test/vectors/README.md).

  @type window :: {atom, keyword}
  @type step ::
          {line :: pos_integer, at_ms :: non_neg_integer, call :: [String.t()], [String.t()]}
  @type vector :: %{title: String.t(), start: integer, windows: [window], steps: [step]}

  @doc "Returns the cases of a file with their windows and steps, each with its line number."
  @spec cases(Path.t()) :: [vector]
  def cases(file) do
    file
    |> File.stream!()
    |> Enum.with_index(1)
    |> Enum.map(fn {line, number} -> {number, line |> code() |> String.split()} end)
    |> Enum.reject(fn {_number, words} -> words == [] end)
    |> Enum.chunk_while(nil, &chunk/2, &{:cont, finish(&1), nil})
    |> Enum.reject(&is_nil/1)
  end

  @doc "Returns the options of a window or of a change."
  @spec options([String.t()]) :: keyword
  def options(words), do: for(word <- words, do: word |> String.split("=") |> option())

  @doc "Returns the names of the windows of a step."
  @spec windows(String.t()) :: [atom]
  def windows(names), do: names |> String.split(",") |> Enum.map(&atom/1)

  @doc "Returns a name. The files have few."
  @spec atom(String.t()) :: atom
  def atom(name), do: String.to_atom(name)

  defp code(line), do: line |> String.split("#") |> hd()

  defp chunk({_number, ["case" | title]}, last) do
    {:cont, finish(last), %{title: Enum.join(title, " "), start: 0, windows: [], steps: []}}
  end

  defp chunk({_number, ["start", ms]}, acc), do: {:cont, %{acc | start: String.to_integer(ms)}}

  defp chunk({_number, ["window", name, algorithm | options]}, acc) do
    window = {atom(name), [{:algorithm, atom(algorithm)} | options(options)]}
    {:cont, %{acc | windows: [window | acc.windows]}}
  end

  defp chunk({number, ["at", ms | words]}, acc) do
    {call, expected} = Enum.split_while(words, &(&1 != "="))
    step = {number, String.to_integer(ms), call, Enum.drop(expected, 1)}
    {:cont, %{acc | steps: [step | acc.steps]}}
  end

  defp finish(nil), do: nil

  defp finish(acc),
    do: %{acc | windows: Enum.reverse(acc.windows), steps: Enum.reverse(acc.steps)}

  defp option(["per_ms", ms]), do: {:per, {String.to_integer(ms), :millisecond}}
  defp option(["aligned", aligned?]), do: {:aligned, aligned? == "true"}
  defp option([name, number]), do: {atom(name), String.to_integer(number)}
end
