defmodule RateLimiter.Replay.Arguments do
  @moduledoc false
  # The command line of `mix rate_limiter.replay`.

  alias RateLimiter.Replay.Settings
  alias RateLimiter.Core.LimitText
  alias RateLimiter.Terminal.CommandLine

  @switches [
    limit: :keep,
    by: :keep,
    id_field: :keep,
    cost: :string,
    format: :string,
    time_field: :string,
    time_unit: :string,
    field: :keep,
    reorder: :string,
    target: :keep,
    top: :integer,
    fit: :boolean,
    json: :boolean,
    html: :string,
    progress: :boolean,
    help: :boolean
  ]
  @aliases [l: :limit, b: :by, h: :help]

  @formats %{
    "auto" => :auto,
    "clf" => :clf,
    "common" => :clf,
    "combined" => :clf,
    "json" => :json,
    "ndjson" => :json
  }
  @time_units %{
    "s" => :second,
    "ms" => :millisecond,
    "us" => :microsecond,
    "ns" => :nanosecond
  }

  @type output :: %{json: boolean, html: String.t() | nil, progress: boolean | nil}

  @doc "Returns paths, options of `RateLimiter.Replay.run/2` and output options, or what is invalid."
  @spec parse([String.t()]) ::
          {:ok, [String.t(), ...], keyword, output} | :help | {:error, String.t()}
  def parse(argv) do
    {given, paths, invalid} = OptionParser.parse(argv, strict: @switches, aliases: @aliases)

    with :ok <- CommandLine.check(invalid, @switches, @aliases),
         false <- Keyword.get(given, :help, false),
         {:ok, options} <- options(given) do
      {:ok, paths(paths), options, output(given)}
    else
      true -> :help
      {:error, message} -> {:error, message}
    end
  end

  defp paths([]), do: ["-"]
  defp paths(paths), do: paths

  defp output(given) do
    %{json: given[:json] == true, html: given[:html], progress: given[:progress]}
  end

  defp options(given) do
    with {:ok, limits} <- limits(Keyword.get_values(given, :limit)),
         {:ok, format} <- one_of(given, :format, @formats, :auto),
         {:ok, time_unit} <- one_of(given, :time_unit, @time_units, nil),
         {:ok, reorder_ms} <- reorder(given[:reorder]),
         {:ok, shares_ppm} <- targets(Keyword.get_values(given, :target)),
         {:ok, fields} <- fields(Keyword.get_values(given, :field)) do
      literal = names(given, :id_field)

      {:ok,
       [
         limits: limits,
         by: by(names(given, :by) ++ literal),
         cost: given[:cost],
         format: format,
         time_field: given[:time_field],
         time_unit: time_unit,
         fields: Enum.into(literal_fields(literal), fields),
         reorder_ms: reorder_ms,
         shares_ppm: shares_ppm,
         top: Keyword.get(given, :top, 10),
         fit: Keyword.get(given, :fit, true)
       ]}
    end
  end

  defp limits([]), do: {:error, "--limit: expected at least one, such as --limit 60/min"}
  defp limits(limits), do: {:ok, limits}

  # `--by ip,path` equals `--by ip --by path`.
  defp names(given, key) do
    given
    |> Keyword.get_values(key)
    |> Enum.flat_map(&String.split(&1, ","))
    |> Enum.map(&String.trim/1)
  end

  defp by([]), do: ["ip"]
  defp by(names), do: names

  # `--id-field ip` is the JSON field `ip` only, not one of the usual names of an address.
  defp literal_fields(names),
    do: for(name <- names, Settings.field?(name), do: {name, name})

  defp one_of(given, key, known, default) do
    case Keyword.fetch(given, key) do
      :error ->
        {:ok, default}

      {:ok, value} when is_map_key(known, value) ->
        {:ok, known[value]}

      {:ok, value} ->
        names = known |> Map.keys() |> Enum.sort() |> Enum.join(", ")
        {:error, "#{CommandLine.flag(key)}: expected one of #{names}, got: #{inspect(value)}"}
    end
  end

  defp reorder(nil), do: {:ok, 60_000}
  defp reorder("0"), do: {:ok, 0}

  defp reorder(text) do
    case LimitText.span(text) do
      {:ok, ns} when ns <= 31_536_000_000_000_000 ->
        {:ok, div(ns, 1_000_000)}

      _ ->
        {:error,
         "--reorder: expected a span of at most 365 days, such as 60s or 5min, got: #{inspect(text)}"}
    end
  end

  # The limit that denies no client is always found.
  defp targets([]), do: {:ok, [0, 10_000]}

  defp targets(texts) do
    shares = Enum.map(texts, &share/1)

    case Enum.find(shares, &is_binary/1) do
      nil ->
        {:ok, Enum.uniq([0 | shares])}

      wrong ->
        {:error,
         "--target: expected a share of clients from 0% to 100%, such as 0.5%, got: #{inspect(wrong)}"}
    end
  end

  defp share(text) do
    with [_, whole | rest] <- Regex.run(~r/\A(\d{1,3})(?:\.(\d{1,4}))?\s*%?\z/, text),
         digits = rest |> List.first("") |> String.pad_trailing(4, "0"),
         ppm when ppm <= 1_000_000 <-
           String.to_integer(whole) * 10_000 + String.to_integer(digits) do
      ppm
    else
      _ -> text
    end
  end

  defp fields(texts) do
    Enum.reduce_while(texts, {:ok, %{}}, fn text, {:ok, fields} ->
      with [field, name] when name != "" <- String.split(text, "=", parts: 2),
           true <- Settings.field?(field) do
        {:cont, {:ok, Map.put(fields, field, name)}}
      else
        _ ->
          {:halt,
           {:error,
            "--field: expected FIELD=NAME with one of #{Settings.field_list()}, got: #{inspect(text)}"}}
      end
    end)
  end
end
