defmodule RateLimiter.Instance.Config do
  @moduledoc false
  # The options of an instance and of its limiters: one schema, validated before anything starts.

  alias RateLimiter.{Instance, Redis, Store, VSM}
  alias RateLimiter.Core.{Limit, Options, Plan}
  alias RateLimiter.Instance.{Checkpoint, Shutdown}
  alias RateLimiter.Limits.Source

  @max_windows 32
  @stores ":local, {:redis, options}, or {module, options} with a module that implements RateLimiter.Store"

  @limiter [
    windows: [
      type: {:each, &Limit.new_window!/2},
      required: true,
      doc: "the limits that are decided together, by name, at most #{@max_windows}.",
      keys: Limit.window_schema()
    ],
    plans: [
      type: :any,
      each: Limit.schema(),
      default: [],
      doc:
        "other limits for the windows by the name of a plan, such as `pro: [minute: [limit: 1_000]]`, each with `:limit`, " <>
          "`:per`, `:burst` or `:enforce`, and `:per` for a `:token_bucket` only. See `RateLimiter.put_plan/3`."
    ],
    events: [
      type: {:in, [:all, :denials, :none]},
      default: :all,
      doc: "the calls that emit a `[:rate_limiter, :check]` event: `:all`, `:denials` or `:none`."
    ],
    threshold: [
      type: {:custom, &__MODULE__.share?/1, "a number above 0 and at most 1"},
      doc:
        "the share of a limit, such as `0.8`, at which `[:rate_limiter, :threshold]` is emitted: once for each id in the " <>
          "period of a window. By default never."
    ],
    max_keys: [
      type: :pos_integer,
      default: 5_000_000,
      doc:
        "the maximum number of ids in memory. Beyond that, known ids stay exact, and new ids share one overflow " <>
          "bucket: they may be denied early, but are never over-admitted. For a limiter in Redis: the maximum number " <>
          "of ids whose last known state is in the memory of this node."
    ],
    top: [
      type: {:in, 1..1_000},
      doc:
        "how many ids of each window are counted for `RateLimiter.top/4`, at most 1,000: those that call most, and those " <>
          "that are denied most. By default no ids are counted."
    ],
    ids: [
      type: {:in, [:hashed, :keep]},
      default: :hashed,
      doc:
        "with `top:`, what `RateLimiter.top/4` returns for an id: `:hashed`, a hash, or `:keep`, the id, which then is in " <>
          "memory for up to some minutes."
    ],
    on_outage: [
      type: {:in, [:share, :allow, :deny]},
      default: :share,
      doc:
        "what happens during an outage of Redis: `:share` decides by this node's share of the limit, `:allow` " <>
          "admits every call whose cost is within the limit, `:deny` returns `{:error, :unavailable, usage}`."
    ]
  ]

  @instance [
    name: [
      type: :any,
      default: Instance.default_name(),
      doc: "the name of the instance, any term."
    ],
    store: [
      type: {:custom, &__MODULE__.store!/2, @stores},
      default: :local,
      doc:
        "where usage is counted: `:local` in the memory of this node, `{:redis, options}` in a Redis that nodes " <>
          "share, with the options of `RateLimiter.Redis`, or `{module, options}` in a store of your own, a `RateLimiter.Store`."
    ],
    limiters: [
      type: {:each, &__MODULE__.limiter!/2},
      default: [],
      doc: "the limiters by name. A name is an atom other than `nil`, and unique on a node.",
      keys: @limiter
    ],
    limits: [
      type: {:custom, &Source.new!/2, Source.expected()},
      default: nil,
      doc:
        "a source of limits, which is read at start and followed while the instance runs: `{:file, path}`, a file that ends with " <>
          "`.json`, `.toml`, `.yaml` or `.exs`, or `{:function, fun}`, a function without arguments. It states limits in " <>
          "the form of `:limiters`, beside those of that option, see `RateLimiter.Limits`. With options, such as " <>
          "`{:file, path, every: {5, :second}}`:",
      keys: Source.schema()
    ],
    vsm: [
      type: {:custom, &VSM.Config.new!/2, "true, false or a keyword list"},
      default: nil,
      doc:
        "the subsystems of the instance: `true` for `:s1` to `:s5` with their defaults, `false` for none " <>
          "(the default), or these options:",
      keys: VSM.Config.schema()
    ],
    checkpoint: [
      type: {:custom, &Checkpoint.new!/2, "a keyword list"},
      default: nil,
      doc:
        "with `store: :local`, writes what limiters have counted into files, and continues from the newest one after a " <>
          "restart. By default a restart begins anew. Options:",
      keys: Checkpoint.schema()
    ],
    shutdown: [
      type: {:custom, &Shutdown.new!/2, "a keyword list"},
      doc: "what happens when the instance stops in order:",
      keys: Shutdown.schema()
    ],
    log: [
      type: :boolean,
      default: true,
      doc: "whether `RateLimiter.Logger` logs the outages of this instance."
    ],
    stats_interval: [
      type: {:or, [:milliseconds, {:in, [:infinity]}]},
      default: 10_000,
      doc:
        "milliseconds between two `[:rate_limiter, :stats]` and `[:rate_limiter, :memory]` events, or `:infinity` for none."
    ]
  ]

  @enforce_keys [:name, :store, :limiters, :stats_interval]
  defstruct [
    :name,
    :store,
    :limiters,
    :stats_interval,
    limits: nil,
    vsm: nil,
    log: true,
    checkpoint: nil,
    shutdown: nil
  ]

  # The limiter of a subsystem has no `:on_outage`: it is always local.
  @type limiter :: %{
          required(:windows) => [{atom, Limit.t()}],
          required(:events) => :all | :denials | :none,
          required(:max_keys) => pos_integer,
          optional(:plans) => [{Plan.name(), Plan.t()}],
          optional(:threshold) => number | nil,
          optional(:top) => pos_integer | nil,
          optional(:ids) => :hashed | :keep,
          optional(:on_outage) => :share | :allow | :deny
        }
  @type store :: :local | {:redis, Redis.Config.t()} | {module, Store.Config.t()}
  @type t :: %__MODULE__{
          name: term,
          store: store,
          limiters: [{atom, limiter}],
          limits: Source.t() | nil,
          vsm: VSM.Config.t() | nil,
          checkpoint: Checkpoint.t() | nil,
          shutdown: Shutdown.t(),
          log: boolean,
          stats_interval: pos_integer | :infinity
        }

  @doc "Validates the options of an instance, or only those that `only` lists."
  @spec new!(term, [atom]) :: t
  def new!(options, only \\ Keyword.keys(@instance)) do
    options = Options.validate!(options, Keyword.take(@instance, only), [])

    config =
      struct!(
        %__MODULE__{
          name: Instance.default_name(),
          store: :local,
          limiters: [],
          stats_interval: :infinity
        },
        options
      )

    for {name, limiter} <- config.limiters, do: check_store!(limiter, config.store, path!(name))
    check_agreement!(config)
    check_checkpoint!(config)

    %{
      config
      | vsm: config.vsm && VSM.Config.for_store(config.vsm, config.store),
        shutdown: config.shutdown || Shutdown.new!([], [:shutdown])
    }
  end

  @doc "Raises if the store cannot represent the limits of a limiter."
  @spec check_store!(limiter, store | {:redis | :store, term}, Options.path()) :: :ok
  def check_store!(_limiter, :local, _path), do: :ok

  def check_store!(limiter, {_shared, _which} = store, path) do
    for {window, limit} <- limiter.windows,
        do: Limit.filled!(limit, path ++ [:windows, window], :redis)

    for {name, plan} <- Map.get(limiter, :plans, []),
        do: check_plan!(plan, limiter, store, path ++ [:plans, name])

    :ok
  end

  @doc "Raises if the store cannot represent the limits of a plan."
  @spec check_plan!(Plan.t(), limiter, store | {:redis | :store, term}, Options.path()) :: :ok
  def check_plan!(_plan, _limiter, :local, _path), do: :ok

  def check_plan!(plan, limiter, {_shared, _which}, path) do
    for {window, limit} <- Plan.apply(limiter.windows, plan),
        Keyword.has_key?(plan, window),
        do: Limit.filled!(limit, path ++ [window], :redis)

    :ok
  end

  @doc "Validates the options of a store."
  @spec store!(term, Options.path()) :: store
  def store!(:local, _path), do: :local
  def store!({:redis, options}, _path), do: {:redis, Redis.Config.new!(options)}

  # Any other term may contain a password.
  def store!({module, options} = other, path) do
    if Store.Config.store?(module),
      do: {module, Store.Config.new!(module, options)},
      else: refused_store!(other, path)
  end

  def store!(other, path), do: refused_store!(other, path)

  @spec refused_store!(term, Options.path()) :: no_return
  defp refused_store!(other, path) do
    if is_atom(other),
      do: Options.expected!(path, @stores, other),
      else: Options.hidden!(path, @stores)
  end

  @doc "Returns whether a value is a share of a limit."
  @spec share?(term) :: boolean
  def share?(value), do: is_number(value) and value > 0 and value <= 1

  @doc "Hides the passwords in unvalidated options, because supervisors show how a child was started."
  @spec hide(term) :: term
  def hide(options) do
    Options.map(options, fn
      {:store, {:redis, redis}} -> {:store, {:redis, Redis.Config.hide(redis)}}
      {:store, {module, options}} -> {:store, {module, Store.Config.hide(options)}}
      other -> other
    end)
  end

  @doc "Validates the options of a limiter."
  @spec limiter!(term, Options.path()) :: limiter
  def limiter!(options, path) do
    check_limit!(options, path)
    limiter = Options.validate!(options, @limiter, path)
    check_windows!(length(limiter.windows), path ++ [:windows])
    check_ids!(limiter, path ++ [:ids])
    %{limiter | plans: Plan.all!(limiter.plans, limiter.windows, path ++ [:plans])}
  end

  # A limit without a window is what other libraries take.
  defp check_limit!(options, path) do
    if Keyword.keyword?(options) and options[:limit] != nil and options[:windows] == nil do
      Options.misuse!(
        path,
        "a limit belongs to a window: windows: [any_name: [limit: 60, per: :minute]]"
      )
    end
  end

  @doc "Returns the schema of a limiter's options."
  @spec limiter_schema() :: Options.schema()
  def limiter_schema, do: @limiter

  @doc "Returns the path of a limiter, or of an option below it."
  @spec path!(atom, [atom]) :: Options.path()
  def path!(limiter, below \\ [])

  def path!(limiter, below) when is_atom(limiter) and limiter != nil,
    do: [:limiters, limiter | below]

  def path!(other, _below),
    do: Options.expected!([:limiters], "an atom other than nil as a name", other)

  @doc "Returns the documentation of the options."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@instance)

  defp check_agreement!(%{store: {:redis, _config}}), do: :ok

  defp check_agreement!(%{vsm: %{agreement: true}}) do
    Options.expected!(
      [:vsm, :agreement],
      "false without a Redis store, because nodes agree through Redis",
      true
    )
  end

  defp check_agreement!(_config), do: :ok

  defp check_checkpoint!(%{checkpoint: %{}, store: {_shared, _}}) do
    Options.misuse!(
      [:checkpoint],
      "expected store: :local, because a shared store keeps its counts by itself. Remove this option"
    )
  end

  defp check_checkpoint!(_config), do: :ok

  defp check_ids!(%{ids: :keep, top: nil}, path),
    do: Options.misuse!(path, "expected top: as well, which says how many ids are kept")

  defp check_ids!(_limiter, _path), do: :ok

  defp check_windows!(0, path), do: Options.misuse!(path, "expected at least one window")

  defp check_windows!(count, path) when count > @max_windows,
    do: Options.expected!(path, "at most #{@max_windows} windows", count)

  defp check_windows!(_count, _path), do: :ok
end
