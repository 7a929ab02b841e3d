defmodule RateLimiter.Support.Exposition do
  @moduledoc """
  A strict reader of the text format of Prometheus: raises for what the format or its conventions forbid.
  """

  @name ~r/^[a-z_][a-z0-9_]*$/
  @sample ~r/^([a-z_][a-z0-9_]*)\{(.*)\} (\S+)$/
  @suffixes %{"histogram" => ["_bucket", "_sum", "_count"], "counter" => [""], "gauge" => [""]}
  @units ~w(_seconds _bytes _ratio _total _info)

  @type series :: {name :: String.t(), labels :: %{optional(String.t()) => String.t()}}

  @doc "Returns the value of each series."
  @spec parse!(iodata) :: %{optional(series) => number}
  def parse!(text) do
    text = IO.iodata_to_binary(text)
    if text != "", do: true = String.ends_with?(text, "\n")

    {series, _types} =
      text
      |> String.split("\n", trim: true)
      |> families()
      |> Enum.reduce({%{}, %{}}, &family!/2)

    series
  end

  # Each family begins with its HELP.
  defp families(lines) do
    Enum.chunk_while(
      lines,
      [],
      fn
        "# HELP " <> _ = line, [] -> {:cont, [line]}
        "# HELP " <> _ = line, family -> {:cont, Enum.reverse(family), [line]}
        line, [_ | _] = family -> {:cont, [line | family]}
      end,
      &{:cont, Enum.reverse(&1), []}
    )
    |> Enum.reject(&(&1 == []))
  end

  defp family!(["# HELP " <> help, "# TYPE " <> type | samples], {series, types}) do
    [name, words] = String.split(help, " ", parts: 2)
    [^name, type] = String.split(type, " ")
    true = name =~ @name and words =~ ~r/^[A-Z].*\.$/
    false = Map.has_key?(types, name)
    suffixes = Map.fetch!(@suffixes, type)
    true = type == "counter" == String.ends_with?(name, "_total")
    refute_unit_inside!(name)
    [_ | _] = samples

    parsed =
      for line <- samples do
        {sample, _labels, value} = parsed = sample!(line)
        true = Enum.any?(suffixes, &(sample == name <> &1))
        true = type == "gauge" or value >= 0
        parsed
      end

    if type == "histogram", do: histograms!(name, parsed)
    same_labels!(parsed)
    new = Map.new(parsed, fn {sample, labels, value} -> {{sample, Map.new(labels)}, value} end)
    # No series is given twice, here or before.
    true = map_size(new) == length(parsed)

    {Map.merge(series, new, fn key, _, _ -> raise "#{inspect(key)} is given twice" end),
     Map.put(types, name, type)}
  end

  # A unit is the end of a name, before _total.
  defp refute_unit_inside!(name) do
    base = String.replace_suffix(name, "_total", "")
    for unit <- @units, do: false = String.contains?(String.replace_suffix(base, unit, ""), unit)
  end

  defp sample!(line) do
    [_, name, labels, value] = Regex.run(@sample, line)
    {name, labels!(labels, []), number!(value)}
  end

  defp labels!("", labels), do: Enum.reverse(labels)

  defp labels!(text, labels) do
    [label, rest] = String.split(text, "=\"", parts: 2)
    true = label =~ @name
    false = List.keymember?(labels, label, 0)
    {value, rest} = quoted!(rest, "")
    rest = if rest == "", do: "", else: (fn "," <> more -> more end).(rest)
    labels!(rest, [{label, value} | labels])
  end

  defp quoted!("\"" <> rest, value), do: {value, rest}
  defp quoted!("\\\\" <> rest, value), do: quoted!(rest, value <> "\\")
  defp quoted!("\\\"" <> rest, value), do: quoted!(rest, value <> "\"")
  defp quoted!("\\n" <> rest, value), do: quoted!(rest, value <> "\n")

  defp quoted!(<<char::utf8, rest::binary>>, value) when char != ?\\,
    do: quoted!(rest, value <> <<char::utf8>>)

  defp number!(text) do
    case Float.parse(text) do
      {number, ""} -> number
    end
  end

  defp same_labels!(samples) do
    names =
      for {_name, labels, _value} <- samples,
          do: labels |> Keyword.new(fn {k, _} -> {:"#{k}", 1} end) |> Keyword.keys()

    [_one] = names |> Enum.map(&Enum.sort(&1 -- [:le])) |> Enum.uniq()
  end

  # The buckets of a series are in order, cumulative, and end with all of its observations.
  defp histograms!(name, samples) do
    series = Enum.group_by(samples, fn {_, labels, _} -> List.keydelete(labels, "le", 0) end)

    for {labels, samples} <- series do
      buckets = for {_, own, value} <- samples, {"le", bound} <- own, do: {bound, value}
      {bounds, counts} = Enum.unzip(buckets)
      {finite, ["+Inf"]} = Enum.split(bounds, -1)
      numbers = Enum.map(finite, &number!/1)
      true = numbers == Enum.sort(numbers) and counts == Enum.sort(counts)
      count = List.last(counts)

      [{_, _, ^count}] =
        for {sample, ^labels, _} = one <- samples, sample == name <> "_count", do: one

      [{_, _, _sum}] =
        for {sample, ^labels, _} = one <- samples, sample == name <> "_sum", do: one
    end
  end
end
