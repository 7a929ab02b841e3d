defmodule RateLimiter.Core.LimitText do
  @moduledoc false
  # The notation of a limit on a command line: "60/min", "10/s:burst=20:token_bucket".

  alias RateLimiter.Core.Limit

  @periods %{
    millisecond: ~w(ms msec millisecond milliseconds),
    second: ~w(s sec secs second seconds),
    minute: ~w(m min mins minute minutes),
    hour: ~w(h hr hour hours),
    day: ~w(d day days)
  }
  @short [millisecond: "ms", second: "s", minute: "min", hour: "h", day: "d"]
  @units for {unit, names} <- @periods, name <- names, into: %{}, do: {name, unit}

  @algorithms Limit.algorithms()
  @words Map.new(@algorithms, &{Atom.to_string(&1), {:algorithm, &1}})
         |> Map.merge(%{"aligned" => {:aligned, true}, "from_first_use" => {:aligned, false}})
  @settings %{"burst" => :burst, "sub_windows" => :sub_windows}

  @parts "burst=N, sub_windows=N, aligned, from_first_use or an algorithm (#{Enum.map_join(@algorithms, ", ", &Atom.to_string/1)})"
  @multiples %{"" => 1, "k" => 1_000, "M" => 1_000_000, "G" => 1_000_000_000}

  @doc """
  Returns the limit that a text states, or what is invalid.

      iex> {:ok, limit} = RateLimiter.Core.LimitText.parse("10/s:burst=20:gcra")
      iex> {limit.limit, limit.per, limit.burst, limit.algorithm}
      {10, :second, 20, :gcra}
  """
  @spec parse(String.t()) :: {:ok, Limit.t()} | {:error, String.t()}
  def parse(text) do
    [rate | parts] = text |> String.split(":") |> Enum.map(&String.trim/1)

    with {:ok, options} <- rate(rate),
         {:ok, options} <- parts(parts, options) do
      {:ok, Limit.new!(options, [])}
    end
    |> explained(text)
  rescue
    # The message of the schema without its path, since the text has only one limit.
    error in ArgumentError -> explained({:error, error.message}, text)
  end

  @doc """
  Returns the shortest text that states the limit.

      iex> {:ok, limit} = RateLimiter.Core.LimitText.parse("1_000 / 5 minutes : token_bucket : burst=1000")
      iex> RateLimiter.Core.LimitText.format(limit)
      "1000/5min"
  """
  @spec format(Limit.t()) :: String.t()
  def format(%Limit{} = limit) do
    Enum.join([rate_text(limit) | details(limit)], ":")
  end

  @doc "Returns its rate only: `60/min`."
  @spec rate_text(Limit.t()) :: String.t()
  def rate_text(%Limit{limit: limit, per: per}), do: "#{amount_text(limit)}/#{period_text(per)}"

  @doc "Returns its rate, and its burst if that differs: the parts in which limits of one kind differ."
  @spec short(Limit.t()) :: String.t()
  def short(%Limit{} = limit) do
    Enum.join([rate_text(limit) | settings(limit, [:burst])], ":")
  end

  @doc "Returns its algorithm in words."
  @spec kind(Limit.t()) :: String.t()
  def kind(%Limit{algorithm: algorithm} = limit) do
    name = algorithm |> Atom.to_string() |> String.replace("_", " ")

    case limit do
      %{algorithm: :sliding_window} -> "#{name} of #{limit.sub_windows} parts"
      %{algorithm: :fixed_window, aligned: true} -> "#{name}, aligned"
      %{algorithm: :fixed_window} -> "#{name} from the first use"
      %{algorithm: :sliding_log} -> name
      _bucket -> "#{name}, burst #{amount_text(Limit.filled!(limit).burst)}"
    end
  end

  @doc """
  Returns a span such as `60s` or `5min` in nanoseconds.

      iex> RateLimiter.Core.LimitText.span("90s")
      {:ok, 90_000_000_000}
  """
  @spec span(String.t()) :: {:ok, non_neg_integer} | :error
  def span(text) do
    with [_, number, name] <- Regex.run(~r/\A(\d{1,9})\s*([a-z]+)\z/, text),
         %{^name => unit} <- @units do
      {:ok, String.to_integer(number) * Limit.nanoseconds(unit)}
    else
      _ -> :error
    end
  end

  @doc """
  Returns the period that a text states.

      iex> {RateLimiter.Core.LimitText.period("minute"), RateLimiter.Core.LimitText.period("5 min")}
      {{:ok, :minute}, {:ok, {5, :minute}}}
  """
  @spec period(String.t()) :: {:ok, RateLimiter.period()} | :error
  def period(text) do
    with [_, number, name] <-
           Regex.run(~r/\A([1-9]\d{0,8})?\s*([a-z]+)\z/, String.downcase(text)),
         %{^name => unit} <- @units do
      {:ok, period_of(number, unit)}
    else
      _ -> :error
    end
  end

  defp rate(text) do
    with [amount, period] <- text |> String.split("/") |> Enum.map(&String.trim/1),
         {:amount, {:ok, limit}} <- {:amount, amount(amount)},
         {:period, {:ok, per}} <- {:period, period(period)} do
      {:ok, [limit: limit, per: per]}
    else
      {:amount, _} ->
        {:error, "expected a whole number before the slash, such as 60 or 10k, #{got(text)}"}

      {:period, _} ->
        {:error,
         "expected a period after the slash (ms, s, min, h, d, or several such as 5min), #{got(text)}"}

      _ ->
        {:error, "expected a number per period, such as 60/min, 10/s or 100/5min, #{got(text)}"}
    end
  end

  defp amount(text) do
    case Regex.run(~r/\A(\d[\d_]{0,24})([kMG]?)\z/, text) do
      [_, digits, multiple] ->
        {:ok, (digits |> String.replace("_", "") |> String.to_integer()) * @multiples[multiple]}

      nil ->
        :error
    end
  end

  # A unit without a number is the period of that name.
  defp period_of("", :millisecond), do: {1, :millisecond}
  defp period_of("", unit), do: unit
  defp period_of("1", unit) when unit != :millisecond, do: unit
  defp period_of(number, unit), do: {String.to_integer(number), unit}

  defp parts(parts, options) do
    Enum.reduce_while(parts, {:ok, options}, fn part, {:ok, options} ->
      with {:ok, {key, value}} <- part(part),
           :error <- Keyword.fetch(options, key) do
        {:cont, {:ok, options ++ [{key, value}]}}
      else
        {:ok, _earlier} -> {:halt, {:error, "expected each setting once, got two: #{part}"}}
        {:error, message} -> {:halt, {:error, message}}
      end
    end)
  end

  defp part(part) do
    case {@words, String.split(part, "=", parts: 2)} do
      {%{^part => option}, _} -> {:ok, option}
      {_, [name, value]} when is_map_key(@settings, name) -> setting(@settings[name], name, value)
      {_, ["algorithm", name]} when is_map_key(@words, name) -> {:ok, @words[name]}
      _ -> {:error, "expected #{@parts} after the colon, #{got(part)}"}
    end
  end

  defp setting(key, name, value) do
    case amount(value) do
      {:ok, number} -> {:ok, {key, number}}
      :error -> {:error, "expected a whole number for #{name}, #{got(value)}"}
    end
  end

  defp explained({:error, message}, text), do: {:error, "limit #{inspect(text)}: #{message}"}
  defp explained(ok, _text), do: ok

  defp got(text), do: "got: #{inspect(text, printable_limit: 100)}"

  # Short, since long rows of digits are hard to count and to type.
  defp amount_text(number) when number < 10_000, do: Integer.to_string(number)

  defp amount_text(number) when rem(number, 1_000_000_000) == 0,
    do: "#{div(number, 1_000_000_000)}G"

  defp amount_text(number) when rem(number, 1_000_000) == 0, do: "#{div(number, 1_000_000)}M"
  defp amount_text(number) when rem(number, 1_000) == 0, do: "#{div(number, 1_000)}k"

  defp amount_text(number),
    do: number |> Integer.to_string() |> String.replace(~r/\B(?=(\d{3})+$)/, "_")

  defp period_text({1, :millisecond}), do: "ms"
  defp period_text({number, unit}), do: "#{number}#{@short[unit]}"
  defp period_text(unit), do: @short[unit]

  defp details(%Limit{} = limit) do
    [
      limit.algorithm != :token_bucket && Atom.to_string(limit.algorithm),
      settings(limit, [:burst, :sub_windows]),
      limit.aligned == false && "from_first_use"
    ]
    |> List.flatten()
    |> Enum.filter(& &1)
  end

  # Without those at their defaults.
  defp settings(limit, keys) do
    default = Limit.filled!(%{limit | burst: nil, sub_windows: nil})

    for key <- keys,
        value = Map.fetch!(limit, key),
        value != Map.fetch!(default, key),
        do: "#{key}=#{amount_text(value)}"
  end
end
