defmodule RateLimiter.Config do
  @moduledoc """
  Options of an instance that come from the environment.

  The options themselves are those of `RateLimiter.start_link/1`, and nothing in this library reads the application's
  or the system's environment by itself.
  """

  # The options of an instance and of its limiters: one schema, checked before anything starts.

  alias RateLimiter.{Instance, Redis, Store, VSM}
  alias RateLimiter.Core.{Limit, Options}

  @max_windows 32

  @limiter [
    windows: [
      type: {:each, &Limit.new!/2},
      required: true,
      doc: "the limits that count together, by name, at most #{@max_windows}.",
      keys: Limit.schema(:new)
    ],
    events: [
      type: {:in, [:all, :denials, :none]},
      default: :all,
      doc: "the calls that make a `[:rate_limiter, :check]` event: `:all`, `:denials` or `:none`."
    ],
    max_keys: [
      type: :pos_integer,
      default: 5_000_000,
      doc:
        "how many ids are kept at once. When there are more, those that are kept stay exact, and newcomers " <>
          "are judged together, strictly. Of a limiter in Redis: of how many this node remembers what Redis said last."
    ],
    on_outage: [
      type: {:in, [:share, :allow, :deny]},
      default: :share,
      doc:
        "what happens while a Redis store is away: `:share` decides by this node's share of the limit, `:allow` lets " <>
          "all calls through whose cost is within the limit, `:deny` answers `{:error, :unavailable, usage}`."
    ]
  ]

  @instance [
    name: [
      type: :any,
      default: Instance.default_name(),
      doc: "the instance's name, any term."
    ],
    store: [
      type: {:by, &__MODULE__.store!/2, ":local or {:redis, options}"},
      default: :local,
      doc:
        "where the state lives: `:local` is this node's memory, `{:redis, options}` a Redis that nodes share, with " <>
          "the options of `RateLimiter.Redis`."
    ],
    limiters: [
      type: {:each, &__MODULE__.limiter!/2},
      default: [],
      doc: "the limiters by name. A name is any atom but `nil`, and unique on a node.",
      keys: @limiter
    ],
    vsm: [
      type: {:by, &VSM.Config.new!/2, "true, false or a keyword list"},
      default: nil,
      doc:
        "whether the instance has subsystems, and which: `true` for `:s1` to `:s5` as they are, `false` for none " <>
          "(the default), or these options:",
      keys: VSM.Config.schema()
    ],
    stats_interval: [
      type: {:or, [:milliseconds, {:in, [:infinity]}]},
      default: 10_000,
      doc: "milliseconds between two `[:rate_limiter, :stats]` events, or `:infinity` for none."
    ]
  ]

  @enforce_keys [:name, :store, :limiters, :stats_interval]
  defstruct [:name, :store, :limiters, :stats_interval, vsm: nil]

  @typedoc false
  # A subsystem's knows no outage: it is always counted here.
  @type limiter :: %{
          required(:windows) => [{atom, Limit.t()}],
          required(:events) => :all | :denials | :none,
          required(:max_keys) => pos_integer,
          optional(:on_outage) => :share | :allow | :deny
        }
  @typedoc false
  @type store :: :local | {:redis, Redis.Config.t()}
  @typedoc false
  @type t :: %__MODULE__{
          name: term,
          store: store,
          limiters: [{atom, limiter}],
          vsm: VSM.Config.t() | nil,
          stats_interval: pos_integer | :infinity
        }

  @doc """
  The store that the environment asks for, as options of an instance.

  Returns `[store: :local]`, or `[store: {:redis, options}]` where `REDIS_ENABLED` is `true` or, if that is not set,
  where `REDIS_URL` or `REDIS_HOST` is.

    * `REDIS_ENABLED` - `true` or `1`, `false` or `0`.
    * `REDIS_URL` - as the option `:url`. Goes before `REDIS_HOST` and `REDIS_PORT`.
    * `REDIS_HOST`, `REDIS_PORT` - as the options `:host` and `:port`.
    * `REDIS_PASSWORD` - the password, which is read again whenever a connection is made.

  A variable that is empty counts as not set.

      iex> System.put_env("REDIS_HOST", "10.0.0.7")
      iex> RateLimiter.Config.from_env()
      [store: {:redis, [host: "10.0.0.7"]}]
      iex> System.put_env("REDIS_ENABLED", "false")
      iex> RateLimiter.Config.from_env()
      [store: :local]

  So `{RateLimiter, RateLimiter.Config.from_env() ++ [limiters: [...]]}` is a child that counts in Redis where there is
  one. Raises `ArgumentError` for an enabled that is neither, and a port that is none.
  """
  @spec from_env() :: keyword
  def from_env, do: Redis.Environment.options()

  @doc false
  # An instance's options, checked. Of these `only`, where not all have a meaning.
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
    %{config | vsm: config.vsm && VSM.Config.for_store(config.vsm, config.store)}
  end

  @doc false
  # Whether this store can hold a limiter's limits.
  @spec check_store!(limiter, store | {:redis, term}, Options.path()) :: :ok
  def check_store!(_limiter, :local, _path), do: :ok

  def check_store!(limiter, {:redis, _which}, path), do: check_fit!(limiter, path, :redis)

  @doc false
  # A store's options, checked.
  @spec store!(term, Options.path()) :: store
  def store!(:local, _path), do: :local
  def store!({:redis, options}, _path), do: {:redis, Redis.Config.new!(options)}

  # A Redis that is written in another way might be written with its password.
  def store!(other, path) when is_atom(other),
    do: Options.expected!(path, ":local or {:redis, options}", other)

  def store!(_other, path) do
    Options.misuse!(
      path,
      "expected :local or {:redis, options}; what came is not shown, since it may hold a password"
    )
  end

  @doc false
  # An instance's options with passwords out of sight, unchecked: supervisors show how a child was started.
  @spec hide(term) :: term
  def hide(options) do
    if Keyword.keyword?(options) or (is_map(options) and not is_struct(options)) do
      Enum.map(options, fn
        {:store, {:redis, redis}} -> {:store, {:redis, Redis.Config.hide(redis)}}
        other -> other
      end)
    else
      options
    end
  end

  @doc false
  # A limiter's options, checked.
  @spec limiter!(term, Options.path()) :: limiter
  def limiter!(options, path) do
    limiter = Options.validate!(options, @limiter, path)
    check_windows!(length(limiter.windows), path ++ [:windows])
    check_fit!(limiter, path)
    limiter
  end

  @doc false
  # The path of a limiter, or of what lies under it.
  @spec path!(atom, [atom]) :: Options.path()
  def path!(limiter, below \\ [])

  def path!(limiter, below) when is_atom(limiter) and limiter != nil,
    do: [:limiters, limiter | below]

  def path!(other, _below),
    do: Options.expected!([:limiters], "an atom other than nil as a name", other)

  @doc false
  # The options of an instance, for its documentation.
  @spec docs() :: String.t()
  def docs, do: Options.docs(@instance)

  defp check_agreement!(%{store: :local, vsm: %{agreement: true}}) do
    Options.expected!(
      [:vsm, :agreement],
      "false or nothing with the store :local, since nodes agree through Redis",
      true
    )
  end

  defp check_agreement!(_config), do: :ok

  defp check_windows!(0, path), do: Options.misuse!(path, "expected at least one window")

  defp check_windows!(count, path) when count > @max_windows,
    do: Options.expected!(path, "at most #{@max_windows} windows", count)

  defp check_windows!(_count, _path), do: :ok

  # The native library knows whether its arithmetic can hold the limits.
  defp check_fit!(limiter, path, store \\ :local) do
    with {:error, {window, reason}} <- Store.check_limits(limiter, store) do
      below = if window, do: [:windows, window], else: []
      Options.refused!(path ++ below, reason)
    end
  end
end
