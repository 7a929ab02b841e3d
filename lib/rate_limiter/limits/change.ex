defmodule RateLimiter.Limits.Change do
  @moduledoc false
  # What new limits change about those of an instance. Pure: it reads and writes no limiter.
  #
  # A limiter or window that the new limits do not name stays as it is. A limiter that runs already keeps what its ids have
  # used, so its windows, their algorithms and its other options must be its own.

  import Kernel, except: [apply: 2]

  alias RateLimiter.Core.{Limit, Options}
  alias RateLimiter.Instance.Config

  @type window :: {name :: atom, from :: Limit.t(), to :: Limit.t()}
  @type step :: {:add, atom, Config.limiter()} | {:update, atom, [window, ...]}
  @type current :: [{atom, Config.limiter()}]

  # States of another shape could not be kept.
  @shape [:algorithm, :sub_windows, :aligned]

  @doc "Returns the steps from the current limiters to the new ones, additions first, or all reasons why they are invalid."
  @spec steps(term, current, Config.store() | {:redis | :store, term}) ::
          {:ok, [step]} | {:error, [String.t(), ...]}
  def steps(limiters, current, store) do
    with {:ok, limiters} <- attempt(fn -> Options.named!(limiters, []) end) do
      results = for {name, options} <- limiters, do: limiter(name, options, current[name], store)

      case for {:error, reasons} <- results, reason <- reasons, do: reason do
        [] ->
          {:ok, Enum.sort_by(for({:ok, step} <- results, step, do: step), &(elem(&1, 0) != :add))}

        reasons ->
          {:error, reasons}
      end
    end
  end

  @doc "Returns the limiters after these steps."
  @spec apply([step], current) :: current
  def apply(steps, current) do
    Enum.reduce(steps, current, fn
      {:add, name, config}, limiters -> limiters ++ [{name, config}]
      {:update, name, windows}, limiters -> Keyword.update!(limiters, name, &update(&1, windows))
    end)
  end

  @doc "Returns the configuration of a limiter with other limits."
  @spec update(Config.limiter(), [window]) :: Config.limiter()
  def update(config, windows) do
    Enum.reduce(windows, config, fn {window, _from, to}, config ->
      %{config | windows: Keyword.replace!(config.windows, window, to)}
    end)
  end

  @doc "Returns what the steps change, as `RateLimiter.Limits` shows it."
  @spec diff([step]) :: RateLimiter.Limits.diff()
  def diff(steps), do: Enum.flat_map(steps, &entries/1)

  @doc "Returns the limits of a limiter, as `RateLimiter.Limits` shows them."
  @spec windows(Config.limiter()) :: %{atom => map}
  def windows(config) do
    Map.new(config.windows, fn {window, limit} ->
      {window, limit |> Map.from_struct() |> Map.reject(fn {_key, value} -> is_nil(value) end)}
    end)
  end

  defp entries({:add, name, config}), do: [{:added, [name], windows(config)}]

  defp entries({:update, name, windows}) do
    for {window, from, to} <- windows,
        {field, old} <- from |> Map.from_struct() |> Enum.sort(),
        differs?(field, old, Map.fetch!(to, field)),
        do: {:changed, [name, window, field], old, Map.fetch!(to, field)}
  end

  # `:minute` and `{60, :second}` are one period.
  defp differs?(:per, old, new), do: Limit.nanoseconds(old) != Limit.nanoseconds(new)
  defp differs?(_field, old, new), do: old != new

  defp limiter(name, options, current, store) do
    with {:ok, config} <- validated(options, [name]),
         {:ok, _} <- attempt(fn -> Config.check_store!(config, store, [name]) end),
         do: step(name, options, config, current)
  end

  # Each window by itself, so that all reasons are found at once.
  defp validated(options, path) do
    with {:ok, config} <- attempt(fn -> Config.limiter!(options, path) end) do
      {:ok, config}
    else
      {:error, reason} ->
        case bad_windows(options, path ++ [:windows]) do
          [] -> {:error, reason}
          reasons -> {:error, reasons}
        end
    end
  end

  defp bad_windows(options, path) do
    windows = if Options.named?(options), do: Map.new(options)[:windows]

    for {window, limit} <- if(Options.named?(windows), do: windows, else: []),
        {:error, [reason]} <- [attempt(fn -> Limit.new!(limit, path ++ [window]) end)],
        do: reason
  end

  defp step(name, _options, config, nil), do: {:ok, {:add, name, config}}

  defp step(name, options, config, current) do
    others = for key <- options |> Map.new() |> Map.keys(), key != :windows, do: key

    kept =
      for key <- others, config[key] != current[key] do
        got(
          [name, key],
          "#{Options.show(current[key])}, since only windows can be changed",
          config[key]
        )
      end

    windows = for {window, to} <- config.windows, do: window(name, window, current.windows, to)

    case kept ++ for({:error, reason} <- windows, do: reason) do
      [] -> {:ok, changed(name, for({:ok, window} <- windows, window, do: window))}
      reasons -> {:error, reasons}
    end
  end

  defp changed(_name, []), do: nil
  defp changed(name, windows), do: {:update, name, windows}

  defp window(limiter, window, windows, to) do
    path = [limiter, :windows, window]

    case List.keyfind(windows, window, 0) do
      nil ->
        known = Options.list(Keyword.keys(windows))

        {:error,
         "#{Options.format(path)}: expected a window that the limiter has (#{known}), since a window cannot be added to it"}

      {^window, from} ->
        case Enum.find(@shape, &(shape(&1, from) != shape(&1, to))) do
          nil ->
            {:ok,
             if(entries({:update, limiter, [{window, from, to}]}) != [], do: {window, from, to})}

          field ->
            {:error, fixed(path ++ [field], from, to)}
        end
    end
  end

  # An algorithm may have several names.
  defp shape(:algorithm, limit), do: {:w, limit} |> Limit.to_native() |> elem(1)
  defp shape(field, limit), do: Map.fetch!(limit, field)

  defp fixed(path, from, to) do
    field = List.last(path)

    expected =
      "#{Options.show(Map.fetch!(from, field))}, since what ids have used could not be kept"

    got(path, expected, Map.fetch!(to, field))
  end

  defp got(path, expected, value),
    do: "#{Options.format(path)}: expected #{expected}, got: #{Options.show(value)}"

  defp attempt(fun) do
    {:ok, fun.()}
  rescue
    error in ArgumentError -> {:error, [Exception.message(error)]}
  end
end
