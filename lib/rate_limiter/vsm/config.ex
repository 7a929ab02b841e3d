defmodule RateLimiter.VSM.Config do
  @moduledoc false
  # The options of an instance's subsystems: one schema, validated before anything starts.

  alias RateLimiter.{Adaptive, Sensors}
  alias RateLimiter.Core.{Limit, Options}

  # Policy is protected longest, then control and intelligence. Operations absorb the variety.
  @defaults [
    s1: [limit: 100, per: :second, priority: 1],
    s2: [limit: 50, per: :second, priority: 2],
    s3: [limit: 20, per: :second, priority: 4],
    s4: [limit: 100, per: :minute, priority: 3],
    s5: [limit: 50, per: {5, :minute}, priority: 5]
  ]

  @share {:custom, &__MODULE__.share?/1, "a number above 0, and at most 1"}
  @weight {:custom, &__MODULE__.weight?/1, "a number above 0, and below 1,000,000"}
  @law {:custom, &__MODULE__.law?/1,
        "a module that implements RateLimiter.Adaptive, or {module, options}"}
  @health {:custom, &__MODULE__.health?/1,
           "{event, fun}: a telemetry event, and a function of its measurements and metadata"}

  @subsystem [
    parent: [
      type: {:custom, &is_atom/1, "the name of a subsystem"},
      doc: "the parent subsystem. A subsystem's scale is never above its parent's."
    ],
    floor: [type: @share, default: 0.1, doc: "the smallest scale."],
    ceiling: [
      type: {:custom, &__MODULE__.ceiling?/1, "a number from 1.0, and below 1,000,000"},
      default: 1.0,
      doc:
        "the largest scale. Above 1.0, the limit may grow beyond the configured one while demand needs it."
    ],
    priority: [
      type: {:in, 0..1_000},
      default: 0,
      doc: "the higher, the earlier a subsystem is served when capacity is short."
    ],
    weight: [
      type: @weight,
      default: 1,
      doc: "the share of the capacity that is left after all were served."
    ],
    shared: [
      type: :boolean,
      default: false,
      doc: "whether the limit is one capacity that the subsystem's children share by priority."
    ],
    target: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      doc:
        "how long a call may take after it was admitted, in milliseconds. Default: learned from the usual duration."
    ],
    patience: [
      type: :pos_integer,
      default: 30_000,
      doc: "how long pain may last, in milliseconds, before it is escalated to the parent."
    ],
    health: [
      type: @health,
      doc:
        "`{event, fun}`: a telemetry event that reports work instead of `RateLimiter.VSM.run/4`. `fun` gets the event's " <>
          "measurements and metadata, and returns `{:ok | :error | :timeout | :rejected, milliseconds}` or `:ignore`."
    ],
    law: [
      type: @law,
      doc:
        "the control law: a module that implements `RateLimiter.Adaptive`, or `{module, options}`. Default: " <>
          "`RateLimiter.Adaptive.Standard`; `RateLimiter.Adaptive.Signals` for a subsystem that shares its parent's " <>
          "capacity, since the parent's law judges the work of all its children."
    ],
    dry_run: [
      type: :boolean,
      default: false,
      doc: "whether decisions are computed and explained, but not applied."
    ],
    events: [
      type: {:in, [:all, :denials, :none]},
      default: :all,
      doc: "which calls emit a `[:rate_limiter, :check]` event."
    ]
  ]

  @limit Limit.schema()

  @schema [
    subsystems: [
      type: {:each, &__MODULE__.subsystem!/2},
      doc:
        "the subsystems by name. Default: `:s1` to `:s5`. Under these names, `:limit` and `:per` have defaults.",
      keys: @limit ++ @subsystem
    ],
    interval: [
      type: :milliseconds,
      default: 1_000,
      doc: "the time between two steps of a law, in milliseconds."
    ],
    agreement: [
      type: :boolean,
      doc:
        "whether all nodes agree on the scales by their common observations, or each node decides by its own. Agreement " <>
          "needs a Redis store, and is the default with it."
    ],
    dry_run: [
      type: :boolean,
      default: false,
      doc: "the same for all subsystems and the gate."
    ],
    ttl: [
      type: :pos_integer,
      default: 10_000,
      doc: "how long a signal is valid, in milliseconds."
    ],
    half_life: [
      type: :pos_integer,
      default: 5_000,
      doc: "the time in milliseconds after which a signal has half its level."
    ],
    source_cap: [
      type: @share,
      default: 1.0,
      doc:
        "the greatest level of one source's pain. Below 0.9, no source can trigger an urgent step."
    ],
    stuck_after: [
      type: :pos_integer,
      default: 30_000,
      doc:
        "how long a source may report pain of 0.9 or more, in milliseconds, before it is contained."
    ],
    sensors: [
      type: {:custom, &is_list/1, "a keyword list"},
      default: [],
      doc:
        "the sensors of this BEAM by name, each with its thresholds, or `false` to disable it. See `RateLimiter.Health`."
    ]
  ]

  @enforce_keys [
    :subsystems,
    :interval,
    :agreement,
    :dry_run,
    :ttl,
    :half_life,
    :source_cap,
    :stuck_after,
    :sensors
  ]
  defstruct @enforce_keys

  @type subsystem :: %{
          limit: Limit.t(),
          rate: float,
          parent: atom | nil,
          floor: number,
          ceiling: number,
          priority: non_neg_integer,
          weight: number,
          shared: boolean,
          target: pos_integer | nil,
          patience: pos_integer,
          health: {[atom], fun} | nil,
          law: module | {module, keyword},
          dry_run: boolean,
          events: :all | :denials | :none
        }
  @type t :: %__MODULE__{subsystems: [{atom, subsystem}], agreement: boolean | nil}

  @doc "Validates the options of `vsm:`. Returns `nil` without subsystems."
  @spec new!(term, Options.path()) :: t | nil
  def new!(false, _path), do: nil
  def new!(true, path), do: new!([], path)

  def new!(options, path) when is_list(options) or is_map(options) do
    config = struct!(__MODULE__, Options.validate!(options, @schema, path))
    subsystems = config.subsystems || defaults(path)
    if subsystems == [], do: Options.misuse!(path ++ [:subsystems], "expected at least one")
    check_parents!(subsystems, path ++ [:subsystems])

    subsystems =
      for {name, subsystem} <- subsystems,
          do:
            {name,
             %{
               subsystem
               | dry_run: subsystem.dry_run or config.dry_run,
                 law: law(subsystem, subsystems)
             }}

    for {name, subsystem} <- subsystems,
        do: check_law!(subsystem, path ++ [:subsystems, name, :law])

    %{
      config
      | subsystems: subsystems,
        sensors: Sensors.Config.new!(config.sensors, path ++ [:sensors])
    }
  end

  def new!(other, path), do: Options.expected!(path, "true, false or a keyword list", other)

  @doc "Returns the configuration without the store's sensor if the store is local."
  @spec for_store(t, RateLimiter.Instance.Config.store()) :: t
  def for_store(config, {:redis, _options}), do: config

  # The sensor reads the client of Redis. The breaker of another store shows in `RateLimiter.health_check/1`.
  def for_store(config, _other),
    do: %{config | sensors: Enum.reject(config.sensors, &Sensors.Config.of_store?/1)}

  @doc false
  @spec subsystem!(term, Options.path()) :: subsystem
  def subsystem!(options, path) do
    options =
      options
      |> Options.named!(path, fn value, _path -> value end)
      |> with_default(List.last(path))

    {limit, subsystem} = Keyword.split(options, Keyword.keys(@limit))
    limit = Limit.new!(limit, path)
    subsystem = Options.validate!(subsystem, @subsystem, path)

    if subsystem.floor > subsystem.ceiling,
      do:
        Options.expected!(
          path ++ [:floor],
          "at most the ceiling, #{subsystem.ceiling}",
          subsystem.floor
        )

    Map.merge(subsystem, %{limit: limit, rate: rate(limit)})
  end

  @doc "Returns the options for the documentation of an instance."
  @spec docs(String.t()) :: String.t()
  def docs(indent), do: Options.docs(@schema, indent)

  @doc false
  def schema, do: @schema

  @doc false
  def share?(value), do: is_number(value) and value > 0 and value <= 1
  @doc false
  def weight?(value), do: is_number(value) and value > 0 and value < 1.0e6
  @doc false
  def ceiling?(value), do: is_number(value) and value >= 1 and value < 1.0e6
  @doc false
  def law?({module, options}), do: law?(module) and Keyword.keyword?(options)

  def law?(module),
    do: is_atom(module) and Code.ensure_loaded?(module) and function_exported?(module, :step, 3)

  @doc false
  def health?({event, fun}), do: event?(event) and is_function(fun, 2)

  def health?(_other), do: false

  defp event?([name]), do: is_atom(name)
  defp event?([name | names]), do: is_atom(name) and event?(names)
  defp event?(_other), do: false

  # In a shared capacity, each subsystem would take the others' queue for its own, and shed independent of priority.
  defp law(%{law: nil, parent: parent}, subsystems) when parent != nil do
    if subsystems[parent].shared, do: Adaptive.Signals, else: Adaptive.Standard
  end

  defp law(%{law: nil}, _subsystems), do: Adaptive.Standard
  defp law(%{law: law}, _subsystems), do: law

  @doc "Returns the law of a subsystem and the options for its start."
  @spec law_options(subsystem) :: {module, keyword}
  def law_options(%{law: {law, options}} = subsystem),
    do: {law, Keyword.merge(bounds(law, subsystem), options)}

  def law_options(%{law: law} = subsystem), do: {law, bounds(law, subsystem)}

  # Signals knows no durations, and so takes no target.
  defp bounds(law, subsystem) do
    target =
      if subsystem.target != nil and law != Adaptive.Signals,
        do: [target: subsystem.target],
        else: []

    [floor: subsystem.floor, ceiling: subsystem.ceiling] ++ target
  end

  defp check_law!(subsystem, path) do
    {law, options} = law_options(subsystem)
    law.new(options)
  rescue
    error -> Options.misuse!(path, "could not be initialised: #{Exception.message(error)}")
  end

  defp defaults(path) do
    for {name, _options} <- @defaults, do: {name, subsystem!([], path ++ [:subsystems, name])}
  end

  # Default limits belong to the model's names. A given limit replaces the whole default.
  defp with_default(options, name) do
    usual = Keyword.get(@defaults, name, [])

    if Enum.any?(@limit, fn {key, _rules} -> Keyword.has_key?(options, key) end),
      do: Keyword.merge(Keyword.take(usual, [:priority]), options),
      else: Keyword.merge(usual, options)
  end

  defp check_parents!(subsystems, path) do
    for {name, %{parent: parent}} <- subsystems, parent != nil do
      unless Keyword.has_key?(subsystems, parent),
        do:
          Options.expected!(
            path ++ [name, :parent],
            "one of #{Options.list(Keyword.keys(subsystems))}",
            parent
          )

      if cycle?(subsystems, parent, [name]),
        do:
          Options.misuse!(
            path ++ [name, :parent],
            "expected a tree, got a cycle: #{inspect(name)} is its own ancestor"
          )
    end
  end

  defp cycle?(_subsystems, nil, _below), do: false

  defp cycle?(subsystems, name, below) do
    name in below or
      case Keyword.fetch(subsystems, name) do
        {:ok, %{parent: parent}} -> cycle?(subsystems, parent, [name | below])
        :error -> false
      end
  end

  defp rate(%Limit{limit: limit, per: per}), do: limit * 1.0e9 / Limit.nanoseconds(per)
end
