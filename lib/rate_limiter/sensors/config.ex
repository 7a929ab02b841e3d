defmodule RateLimiter.Sensors.Config do
  @moduledoc false
  # The sensors of an instance, with their thresholds.

  alias RateLimiter.Core.Options
  alias RateLimiter.Sensors.{Function, Mailboxes, Memory, RunQueue, Schedulers, Store, Timer}

  @built_in [
    schedulers: {Schedulers, ok: 0.80, warn: 0.90, crit: 0.98},
    run_queue: {RunQueue, ok: 1, warn: 4, crit: 8},
    timer: {Timer, ok: 5, warn: 20, crit: 100},
    memory: {Memory, ok: 0.70, warn: 0.80, crit: 0.92},
    mailboxes: {Mailboxes, ok: 100, warn: 1_000, crit: 10_000},
    store: {Store, ok: 0.01, warn: 0.05, crit: 0.25}
  ]

  @number {:custom, &is_number/1, "a number"}
  @thresholds [
    ok: [type: @number, required: true],
    warn: [type: @number, required: true],
    crit: [type: @number, required: true]
  ]
  @schemas %{
    Memory => [limit: [type: {:or, [:pos_integer, {:in, [nil]}]}]],
    Mailboxes => [
      watch: [
        type: {:custom, &__MODULE__.watchable?/1, "a list of registered names and pids"},
        default: []
      ]
    ],
    Function => [
      measure: [
        type: {:custom, &__MODULE__.measure?/1, "a zero-arity function"},
        required: true
      ]
    ]
  }

  @type sensor :: {name :: atom, module, options :: keyword, {number, number, number}}

  @doc "Validates the option `:sensors`."
  @spec new!(term, Options.path()) :: [sensor]
  def new!(options, path) do
    given = Options.named!(options, path, fn value, _path -> value end)
    {built_in, custom} = Keyword.split(given, Keyword.keys(@built_in))
    for {name, options} <- custom, do: check_name!(name, options, path)

    built_in =
      for {name, {module, defaults}} <- @built_in,
          options = Keyword.get(built_in, name, []),
          options != false,
          do: sensor(name, module, defaults, options, path ++ [name])

    Enum.filter(built_in, &useful?/1) ++
      for {name, options} <- custom, options != false, do: custom(name, options, path ++ [name])
  end

  @doc "Returns whether the sensor is built in."
  @spec built_in?(sensor) :: boolean
  def built_in?({name, _module, _options, _thresholds}), do: Keyword.has_key?(@built_in, name)

  @doc "Returns whether it is the store's sensor, which does not change the gate."
  @spec of_store?(sensor) :: boolean
  def of_store?({_name, module, _options, _thresholds}), do: module == Store

  @doc false
  def watchable?(list),
    do: is_list(list) and Enum.all?(list, &(is_pid(&1) or (is_atom(&1) and &1 != nil)))

  @doc false
  def measure?(value), do: is_function(value, 0)

  # A sensor without :measure and :module must be built in, so suggest the closest built-in name.
  defp check_name!(name, options, path) do
    near = Options.nearest(name, Keyword.keys(@built_in))

    if near != nil and not custom?(options),
      do: Options.misuse!(path, "unknown sensor #{inspect(name)}, did you mean #{inspect(near)}?")
  end

  defp custom?(options) when is_map(options) or is_list(options),
    do: Enum.any?(options, &match?({key, _} when key in [:measure, :module], &1))

  defp custom?(_false), do: false

  defp custom(name, options, path) do
    given = Options.named!(options, path, fn value, _path -> value end)

    case Keyword.pop(given, :module) do
      {nil, options} -> sensor(name, Function, [], options, path)
      {module, options} -> of_module(name, module, options, path)
    end
  end

  defp of_module(name, module, options, path) do
    unless is_atom(module) and Code.ensure_loaded?(module) and
             function_exported?(module, :init, 1) and function_exported?(module, :measure, 1),
           do:
             Options.expected!(
               path ++ [:module],
               "a module that implements RateLimiter.Health",
               module
             )

    {thresholds, options} = Keyword.split(options, Keyword.keys(@thresholds))
    {name, module, options, thresholds!(thresholds, path)}
  end

  defp sensor(name, module, defaults, options, path) do
    schema = Keyword.merge(@thresholds, Map.get(@schemas, module, []))
    given = Options.named!(options, path, fn value, _path -> value end)
    checked = defaults |> Keyword.merge(given) |> Options.validate!(schema, path) |> Map.to_list()
    {thresholds, options} = Keyword.split(checked, Keyword.keys(@thresholds))
    {name, module, options, thresholds!(thresholds, path)}
  end

  defp thresholds!(given, path) do
    %{ok: ok, warn: warn, crit: crit} = Options.validate!(given, @thresholds, path)
    unless ok < warn and warn < crit, do: Options.expected!(path, "ok < warn < crit", given)
    {ok, warn, crit}
  end

  defp useful?({_name, Mailboxes, options, _thresholds}), do: options[:watch] != []
  defp useful?(_sensor), do: true
end
