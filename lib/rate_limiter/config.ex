defmodule RateLimiter.Config do
  @moduledoc false
  # The options of an instance and of its limiters: one schema, checked before anything starts.

  alias RateLimiter.{Engine, Limit, Options}

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
          "are judged together, strictly."
    ]
  ]

  @instance [
    name: [
      type: :any,
      default: RateLimiter,
      doc: "the instance's name, any term."
    ],
    store: [
      type: {:in, [:local]},
      default: :local,
      doc: "where the state lives: `:local` is this node's memory."
    ],
    limiters: [
      type: {:each, &__MODULE__.limiter!/2},
      default: [],
      doc: "the limiters by name. A name is any atom but `nil`, and unique on a node.",
      keys: @limiter
    ],
    stats_interval: [
      type: {:or, [:pos_integer, {:in, [:infinity]}]},
      default: 10_000,
      doc: "milliseconds between two `[:rate_limiter, :stats]` events, or `:infinity` for none."
    ]
  ]

  @enforce_keys [:name, :store, :limiters, :stats_interval]
  defstruct [:name, :store, :limiters, :stats_interval]

  @type limiter :: %{
          windows: [{atom, Limit.t()}],
          events: :all | :denials | :none,
          max_keys: pos_integer
        }
  @type t :: %__MODULE__{
          name: term,
          store: :local,
          limiters: [{atom, limiter}],
          stats_interval: pos_integer | :infinity
        }

  @doc "An instance's options, checked. Of these `only`, where not all have a meaning."
  @spec new!(term, [atom]) :: t
  def new!(options, only \\ Keyword.keys(@instance)) do
    options = Options.validate!(options, Keyword.take(@instance, only), [])

    struct!(
      %__MODULE__{name: RateLimiter, store: :local, limiters: [], stats_interval: :infinity},
      options
    )
  end

  @doc "A limiter's options, checked."
  @spec limiter!(term, Options.path()) :: limiter
  def limiter!(options, path) do
    limiter = Options.validate!(options, @limiter, path)
    check_windows!(length(limiter.windows), path ++ [:windows])
    check_fit!(limiter, path)
    limiter
  end

  @doc "The path of a limiter, or of what lies under it."
  @spec path!(atom, [atom]) :: Options.path()
  def path!(limiter, below \\ [])

  def path!(limiter, below) when is_atom(limiter) and limiter != nil,
    do: [:limiters, limiter | below]

  def path!(other, _below),
    do: Options.expected!([:limiters], "an atom other than nil as a name", other)

  @doc "The options of an instance, for its documentation."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@instance)

  defp check_windows!(0, path), do: Options.misuse!(path, "expected at least one window")

  defp check_windows!(count, path) when count > @max_windows,
    do: Options.expected!(path, "at most #{@max_windows} windows", count)

  defp check_windows!(_count, _path), do: :ok

  # Whether the arithmetic holds is for the library to say: it makes the limiter once, for as long as it takes.
  defp check_fit!(limiter, path) do
    case Engine.new_limiter(%{limiter | max_keys: 1}, :monotonic) do
      {:ok, _handle, owner} -> Engine.drop(owner)
      {:error, {nil, reason}} -> Options.refused!(path, reason)
      {:error, {window, reason}} -> Options.refused!(path ++ [:windows, window], reason)
    end
  end
end
