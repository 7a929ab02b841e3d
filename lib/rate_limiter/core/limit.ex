defmodule RateLimiter.Core.Limit do
  @moduledoc false
  # One window of a limiter: its options, checked, and as the native library takes them.

  alias RateLimiter.Core.Options

  @units [
    millisecond: 1_000_000,
    second: 1_000_000_000,
    minute: 60_000_000_000,
    hour: 3_600_000_000_000,
    day: 86_400_000_000_000
  ]
  @max_ns 0x3FF_FFFF_FFFF_FFFF

  # Names that mean the same arithmetic: one engine answers to all three.
  @token_buckets [:token_bucket, :gcra, :leaky_bucket]
  @algorithms @token_buckets ++ [:sliding_window, :sliding_log, :fixed_window]
  @max_log 10_000

  @period {:that, &__MODULE__.period?/1,
           "a period shorter than 9 years: :second, :minute, :hour, :day or {n, unit}"}

  @schema [
    algorithm: [
      type: {:in, @algorithms},
      default: :token_bucket,
      doc:
        "`:token_bucket` (also called `:gcra` or `:leaky_bucket`), `:sliding_window`, `:sliding_log` " <>
          "or `:fixed_window`."
    ],
    limit: [
      type: :pos_integer,
      required: true,
      doc:
        "how much is allowed in a period. At most 10,000 for `:sliding_log`, which keeps a stamp for each."
    ],
    per: [
      type: @period,
      required: true,
      doc:
        "the period: `:second`, `:minute`, `:hour`, `:day`, or `{n, unit}`, there also with `:millisecond`."
    ],
    burst: [
      type: :pos_integer,
      only: :token_bucket,
      doc: "how much a bucket holds when it is full. Default: the `:limit`."
    ],
    sub_windows: [
      type: {:integer, 1, 120},
      default: 10,
      only: :sliding_window,
      doc:
        "into how many parts the period is cut: more parts waste less of the limit and take more memory."
    ],
    aligned: [
      type: :boolean,
      default: true,
      only: :fixed_window,
      doc: "whether windows begin with the period in UTC, or else with an id's first use."
    ]
  ]

  @changes Keyword.take(@schema, [:limit, :per, :burst])

  @enforce_keys [:algorithm, :limit, :per]
  defstruct [:algorithm, :limit, :per, :burst, :sub_windows, :aligned]

  @type unit :: :millisecond | :second | :minute | :hour | :day
  @type period :: :second | :minute | :hour | :day | :millisecond | {pos_integer, unit}
  @type t :: %__MODULE__{
          algorithm: atom,
          limit: pos_integer,
          per: period,
          burst: pos_integer | nil,
          sub_windows: pos_integer | nil,
          aligned: boolean | nil
        }

  @doc "The type of an option that is a period."
  @spec period() :: {:that, (term -> boolean), String.t()}
  def period, do: @period

  @doc "What a window's options may be, and what a running window can be changed to."
  @spec schema(:new | :change) :: Options.schema()
  def schema(:new), do: @schema

  def schema(:change),
    do: Enum.map(@changes, fn {key, rules} -> {key, Keyword.delete(rules, :required)} end)

  @doc "The window that these options describe."
  @spec new!(term, Options.path()) :: t
  def new!(options, path) do
    limit = struct!(__MODULE__, Options.validate!(options, @schema, path))
    check!(limit, Map.new(options), path)
    Map.merge(limit, Map.new(foreign(limit), &{&1, nil}))
  end

  @doc "The window with some of its limits changed; a burst that followed the limit goes on following it."
  @spec change!(t, term, Options.path()) :: t
  def change!(%__MODULE__{} = limit, options, path) do
    changes =
      options
      |> Options.validate!(schema(:change), path)
      |> Map.reject(fn {_key, value} -> is_nil(value) end)

    if changes == %{},
      do:
        Options.misuse!(path, "expected at least one of #{Options.list(Keyword.keys(@changes))}")

    check!(Map.merge(limit, changes), changes, path)
    Map.merge(limit, changes)
  end

  @doc "The window as the native library takes it."
  @spec to_native({atom, t}) :: RateLimiter.Core.Native.window_spec()
  def to_native({name, %__MODULE__{} = limit}) do
    {name, engine(limit.algorithm), limit.limit, nanoseconds(limit.per), burst(limit),
     limit.sub_windows, limit.aligned == true}
  end

  @doc "How much a token bucket holds."
  @spec burst(t) :: pos_integer | nil
  def burst(%__MODULE__{algorithm: algorithm} = limit) when algorithm in @token_buckets,
    do: limit.burst || limit.limit

  def burst(_limit), do: nil

  @doc "A period in nanoseconds."
  @spec nanoseconds(period) :: pos_integer
  def nanoseconds({n, unit}), do: n * @units[unit]
  def nanoseconds(unit), do: @units[unit]

  @doc "Whether this is a period."
  @spec period?(term) :: boolean
  def period?({n, unit}) when is_integer(n) and n > 0 and is_atom(unit),
    do: Keyword.has_key?(@units, unit) and n * @units[unit] <= @max_ns

  def period?(unit), do: is_atom(unit) and Keyword.has_key?(@units, unit)

  defp check!(limit, given, path) do
    for key <- foreign(limit), Map.has_key?(given, key) do
      Options.misuse!(
        path ++ [key],
        "is only for #{inspect(@schema[key][:only])}, this window is #{inspect(limit.algorithm)}"
      )
    end

    if limit.algorithm == :sliding_log and limit.limit > @max_log do
      Options.expected!(path ++ [:limit], "at most #{@max_log} for :sliding_log", limit.limit)
    end
  end

  # The options that belong to other algorithms.
  defp foreign(%{algorithm: algorithm}) do
    for {key, rules} <- @schema, rules[:only] not in [nil, engine(algorithm)], do: key
  end

  defp engine(algorithm) when algorithm in @token_buckets, do: :token_bucket
  defp engine(algorithm), do: algorithm
end
