defmodule RateLimiter.Metrics.Text do
  @moduledoc false
  # The text format of Prometheus, version 0.0.4.

  @typedoc "A label has a value of any text. The labels of a family's samples have the same names."
  @type labels :: [{atom, String.t()}]
  @type histogram :: %{
          sum_us: non_neg_integer,
          buckets: [{pos_integer | :infinity, non_neg_integer}]
        }
  @type family ::
          {name :: atom, :counter | :gauge, help :: String.t(), [{labels, number}]}
          | {name :: atom, :histogram, help :: String.t(), [{labels, histogram}]}

  @doc "Returns the text of families. Those of one name are one family, and those without samples are left out."
  @spec encode([family]) :: iodata
  def encode(families) do
    families
    |> Enum.reject(&match?({_, _, _, []}, &1))
    |> Enum.group_by(&elem(&1, 0))
    |> Enum.sort_by(&elem(&1, 0))
    |> Enum.map(fn {name, [{_, type, help, _} | _] = same} ->
      samples = for {_, _, _, samples} <- same, sample <- samples, do: sample(type, name, sample)
      ["# HELP #{name} #{help}\n# TYPE #{name} #{type}\n", samples]
    end)
  end

  defp sample(:histogram, name, {labels, %{sum_us: sum_us, buckets: buckets}}) do
    {lines, total} =
      Enum.map_reduce(buckets, 0, fn {bound, calls}, total ->
        total = total + calls
        {line("#{name}_bucket", labels ++ [le: bound(bound)], total), total}
      end)

    [lines, line("#{name}_sum", labels, seconds(sum_us)), line("#{name}_count", labels, total)]
  end

  defp sample(_type, name, {labels, value}), do: line(name, labels, value)

  defp line(name, labels, value) do
    labels =
      Enum.map_intersperse(labels, ",", fn {key, text} -> [~s(#{key}="), escape(text), ?"] end)

    ["#{name}", ?{, labels, ?}, ?\s, number(value), ?\n]
  end

  defp bound(:infinity), do: "+Inf"
  defp bound(us), do: seconds(us)

  # Never in the form 1.0e-4: a bound is the name of a series.
  defp seconds(us), do: :erlang.float_to_binary(us / 1_000_000, [:compact, decimals: 6])

  defp number(value) when is_binary(value), do: value
  defp number(value) when is_integer(value), do: Integer.to_string(value)
  defp number(value) when is_float(value), do: Float.to_string(value)

  defp escape(text) do
    text = if String.valid?(text), do: text, else: inspect(text)
    String.replace(text, ["\\", "\"", "\n"], &escaped/1)
  end

  defp escaped("\\"), do: "\\\\"
  defp escaped("\""), do: "\\\""
  defp escaped("\n"), do: "\\n"
end
