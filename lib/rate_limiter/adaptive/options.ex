defmodule RateLimiter.Adaptive.Options do
  @moduledoc false
  # What every law is given as options, checked the same way by each.

  @known [:scale, :floor, :ceiling, :target]

  @doc "The options, if they are right; of these only those that a law keeps."
  @spec validate!(keyword, [atom]) :: keyword
  def validate!(options, kept) do
    for {key, value} <- options do
      if key in @known,
        do: number!(key, value),
        else: misuse!(key, "one of #{inspect(@known)}", key)
    end

    floor = Keyword.get(options, :floor, 0.1)
    ceiling = Keyword.get(options, :ceiling, 1.0)

    if floor > ceiling, do: misuse!(:floor, "at most the ceiling, #{ceiling}", floor)

    options = Keyword.take(options, kept)

    case options[:scale] do
      nil -> Keyword.delete(options, :scale)
      scale -> Keyword.put(options, :scale, scale |> max(floor) |> min(ceiling))
    end
  end

  defp number!(_key, nil), do: :ok
  defp number!(_key, value) when is_number(value) and value > 0 and value <= 1.0e15, do: :ok
  defp number!(key, value), do: misuse!(key, "a positive number", value)

  defp misuse!(key, expected, got) do
    raise ArgumentError, "law: #{inspect(key)}: expected #{expected}, got: #{inspect(got)}"
  end
end
