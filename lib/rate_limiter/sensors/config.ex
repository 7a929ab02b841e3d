defmodule RateLimiter.Sensors.Config do
  @moduledoc false
  # The sensors that an instance has, with their thresholds.

  alias RateLimiter.Core.Options
  alias RateLimiter.Sensors.{Function, Mailboxes, Memory, RunQueue, Schedulers, Store, Timer}

  # Thresholds: ok, warn and crit.
  @built_in [
    schedulers: {Schedulers, {0.80, 0.90, 0.98}},
    run_queue: {RunQueue, {1, 4, 8}},
    timer: {Timer, {5, 20, 100}},
    memory: {Memory, {0.70, 0.80, 0.92}},
    mailboxes: {Mailboxes, {100, 1_000, 10_000}},
    store: {Store, {0.01, 0.05, 0.25}}
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

  @doc "The sensors, checked."
  @spec new!(term, Options.path()) :: [sensor]
  def new!(options, path) do
    given = Options.named!(options, path, fn value, _path -> value end)
    own = for {name, own} <- given, not Keyword.has_key?(@built_in, name), do: {name, own}
    for {name, own} <- own, do: check_name!(name, own, path)

    built_in =
      for {name, {module, {ok, warn, crit}}} <- @built_in,
          options = Keyword.get(given, name, []),
          options != false,
          do: sensor(name, module, [ok: ok, warn: warn, crit: crit], options, path ++ [name])

    Enum.filter(built_in, &useful?/1) ++
      for {name, own} <- own, own != false, do: own(name, own, path ++ [name])
  end

  @doc "Whether it reads this BEAM, as it comes with the library."
  @spec built_in?(sensor) :: boolean
  def built_in?({name, _module, _options, _thresholds}), do: Keyword.has_key?(@built_in, name)

  @doc "Whether it reads the store, which no gate follows."
  @spec of_store?(sensor) :: boolean
  def of_store?({_name, module, _options, _thresholds}), do: module == Store

  @doc false
  def watchable?(list),
    do: is_list(list) and Enum.all?(list, &(is_pid(&1) or (is_atom(&1) and &1 != nil)))

  @doc false
  def measure?(value), do: is_function(value, 0)

  # What measures nothing is none of the application's own: if it is called nearly as one of these, that was meant.
  defp check_name!(name, own, path) do
    near = Options.nearest(name, Keyword.keys(@built_in))

    if near != nil and not own?(own),
      do: Options.misuse!(path, "unknown sensor #{inspect(name)}, did you mean #{inspect(near)}?")
  end

  defp own?(own) when is_map(own) or is_list(own),
    do: Enum.any?(own, &match?({key, _} when key in [:measure, :module], &1))

  defp own?(_false), do: false

  # A sensor of the application's own is a function, or a module.
  defp own(name, options, path) do
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
