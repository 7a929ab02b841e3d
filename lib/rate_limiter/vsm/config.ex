defmodule RateLimiter.VSM.Config do
  @moduledoc false
  # The options of an instance's subsystems: one schema, checked before anything starts.

  alias RateLimiter.{Adaptive, Sensors}
  alias RateLimiter.Core.{Limit, Options}

  # S5 is protected longest, then what allots and what learns; operations take up the variety.
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

  @own [
    parent: [
      type: {:custom, &is_atom/1, "the name of a subsystem"},
      doc: "the subsystem that this one is part of: its scale is never above its parent's."
    ],
    floor: [type: @share, default: 0.1, doc: "the least scale."],
    ceiling: [
      type: {:custom, &__MODULE__.ceiling?/1, "a number from 1.0, and below 1,000,000"},
      default: 1.0,
      doc:
        "the greatest scale. Above 1.0, the limit may grow beyond the one configured while demand asks for it."
    ],
    priority: [
      type: {:in, 0..1_000},
      default: 0,
      doc: "who is served first where capacity is short: the higher."
    ],
    weight: [
      type: @weight,
      default: 1,
      doc: "how what is left after all were served is divided."
    ],
    shared: [
      type: :boolean,
      default: false,
      doc:
        "whether the limit of this subsystem is one capacity that its children share by priority."
    ],
    target: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      doc:
        "how long a call may take, in milliseconds, from the time it is let in. Without one, its own usual duration is the measure."
    ],
    patience: [
      type: :pos_integer,
      default: 30_000,
      doc: "how long pain may last, in milliseconds, before the parent hears of it."
    ],
    health: [
      type: @health,
      doc:
        "`{event, fun}`: work that is reported by a telemetry event instead of `RateLimiter.VSM.run/4`. `fun` gets its " <>
          "measurements and metadata, and returns `{:ok | :error | :timeout | :rejected, milliseconds}` or `:ignore`."
    ],
    law: [
      type: @law,
      doc:
        "the control law: a module that implements `RateLimiter.Adaptive`, or `{module, options}`. Default: " <>
          "`RateLimiter.Adaptive.Standard`; for who shares a parent's capacity `RateLimiter.Adaptive.Signals`, since " <>
          "there the parent's law judges the work of all."
    ],
    dry_run: [
      type: :boolean,
      default: false,
      doc: "whether all is computed and explained, and nothing applied."
    ],
    events: [
      type: {:in, [:all, :denials, :none]},
      default: :all,
      doc: "the calls that make a `[:rate_limiter, :check]` event."
    ]
  ]

  @limit Limit.schema()

  @schema [
    subsystems: [
      type: {:each, &__MODULE__.subsystem!/2},
      doc:
        "the subsystems by name. Default: `:s1` to `:s5`; these names have their usual limits where none are given.",
      keys: @limit ++ @own
    ],
    interval: [
      type: :milliseconds,
      default: 1_000,
      doc: "milliseconds between two steps of a law."
    ],
    agreement: [
      type: :boolean,
      doc:
        "whether the nodes of a Redis store agree on the scales, from what they all saw, or each goes by what it sees " <>
          "itself. Default: `true` where the store is Redis; elsewhere there is nobody to agree with."
    ],
    dry_run: [
      type: :boolean,
      default: false,
      doc: "as for a subsystem, for all of them and for the gate."
    ],
    ttl: [type: :pos_integer, default: 10_000, doc: "how long a signal counts, in milliseconds."],
    half_life: [
      type: :pos_integer,
      default: 5_000,
      doc: "after how many milliseconds a signal counts half."
    ],
    source_cap: [
      type: @share,
      default: 1.0,
      doc: "the most that one source's pain counts. Below 0.9 no source can cut a limit at once."
    ],
    stuck_after: [
      type: :pos_integer,
      default: 30_000,
      doc:
        "for how many milliseconds a source may report pain of 0.9 or more before it is contained."
    ],
    sensors: [
      type: {:custom, &is_list/1, "a keyword list"},
      default: [],
      doc:
        "the sensors of this BEAM, by name, each with its thresholds, or `false` for none. See `RateLimiter.Health`."
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

  @doc "The options of `vsm:`, checked; `nil` where there are no subsystems."
  @spec new!(term, Options.path()) :: t | nil
  def new!(false, _path), do: nil
  def new!(true, path), do: new!([], path)

  def new!(options, path) when is_list(options) or is_map(options) do
    config = struct!(__MODULE__, Options.validate!(options, @schema, path))
    subsystems = config.subsystems || defaults(path)
    if subsystems == [], do: Options.misuse!(path ++ [:subsystems], "expected at least one")
    check_parents!(subsystems, path ++ [:subsystems])

    subsystems =
      for {name, own} <- subsystems,
          do: {name, %{own | dry_run: own.dry_run or config.dry_run, law: law(own, subsystems)}}

    for {name, own} <- subsystems, do: check_law!(own, path ++ [:subsystems, name, :law])

    %{
      config
      | subsystems: subsystems,
        sensors: Sensors.Config.new!(config.sensors, path ++ [:sensors])
    }
  end

  def new!(other, path), do: Options.expected!(path, "true, false or a keyword list", other)

  @doc false
  # What counts here is never away, and has no sensor.
  @spec for_store(t, RateLimiter.Instance.Config.store()) :: t
  def for_store(config, {:redis, _options}), do: config

  def for_store(config, :local),
    do: %{config | sensors: Enum.reject(config.sensors, &Sensors.Config.of_store?/1)}

  @doc false
  @spec subsystem!(term, Options.path()) :: subsystem
  def subsystem!(options, path) do
    options =
      options
      |> Options.named!(path, fn value, _path -> value end)
      |> with_default(List.last(path))

    {limit, own} = Keyword.split(options, Keyword.keys(@limit))
    limit = Limit.new!(limit, path)
    RateLimiter.VSM.Gate.check_limit!(limit, path)
    own = Options.validate!(own, @own, path)

    if own.floor > own.ceiling,
      do: Options.expected!(path ++ [:floor], "at most the ceiling, #{own.ceiling}", own.floor)

    Map.merge(own, %{limit: limit, rate: rate(limit)})
  end

  @doc "The options, for the documentation of an instance."
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

  # Who shares a capacity would take another's queue for its own, and give way however much it matters.
  defp law(%{law: nil, parent: parent}, subsystems) when parent != nil do
    if subsystems[parent].shared, do: Adaptive.Signals, else: Adaptive.Standard
  end

  defp law(%{law: nil}, _subsystems), do: Adaptive.Standard
  defp law(%{law: law}, _subsystems), do: law

  @doc "The law of a subsystem, and the options that it begins with."
  @spec law_options(subsystem) :: {module, keyword}
  def law_options(%{law: {law, options}} = own),
    do: {law, Keyword.merge(bounds(law, own), options)}

  def law_options(%{law: law} = own), do: {law, bounds(law, own)}

  # Only where one is given, and where durations are known.
  defp bounds(law, own) do
    target = if own.target != nil and law != Adaptive.Signals, do: [target: own.target], else: []
    [floor: own.floor, ceiling: own.ceiling] ++ target
  end

  defp check_law!(own, path) do
    {law, options} = law_options(own)
    law.new(options)
  rescue
    error -> Options.misuse!(path, "it does not begin: #{Exception.message(error)}")
  end

  defp defaults(path) do
    for {name, _options} <- @defaults, do: {name, subsystem!([], path ++ [:subsystems, name])}
  end

  # A name of the model has its usual limit, unless another one is given: then all of it is.
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

      if circle?(subsystems, parent, [name]),
        do:
          Options.misuse!(
            path ++ [name, :parent],
            "expected a tree, got a circle: #{inspect(name)} is its own ancestor"
          )
    end
  end

  defp circle?(_subsystems, nil, _below), do: false

  defp circle?(subsystems, name, below) do
    name in below or
      case Keyword.fetch(subsystems, name) do
        {:ok, %{parent: parent}} -> circle?(subsystems, parent, [name | below])
        :error -> false
      end
  end

  defp rate(%Limit{limit: limit, per: per}), do: limit * 1.0e9 / Limit.nanoseconds(per)
end
