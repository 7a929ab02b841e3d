defmodule RateLimiter.Core.Limit do
  @moduledoc false
  # The limit of one window: its options, validated, and as the native library takes them.

  alias RateLimiter.Core.{Native, Options}

  @units [
    millisecond: 1_000_000,
    second: 1_000_000_000,
    minute: 60_000_000_000,
    hour: 3_600_000_000_000,
    day: 86_400_000_000_000
  ]
  @max_ns 0x3FF_FFFF_FFFF_FFFF

  # Three names for the same arithmetic.
  @token_buckets [:token_bucket, :gcra, :leaky_bucket]
  @algorithms @token_buckets ++ [:sliding_window, :sliding_log, :fixed_window]

  @period {:custom, &__MODULE__.period?/1,
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
        "the total cost that is admitted in a period. At most 10,000 for `:sliding_log`, which stores a timestamp for " <>
          "each unit; 1,000 in Redis."
    ],
    per: [
      type: @period,
      required: true,
      doc:
        "the period: `:second`, `:minute`, `:hour`, `:day`, or `{n, unit}`, also with `:millisecond`."
    ],
    burst: [
      type: :pos_integer,
      only: :token_bucket,
      doc: "the capacity of the bucket. Default: the `:limit`."
    ],
    sub_windows: [
      type: {:in, 1..120},
      only: :sliding_window,
      doc:
        "the number of parts of the period: with more parts, less of the limit stays unused, and each id takes more " <>
          "memory. Default: 10."
    ],
    aligned: [
      type: :boolean,
      default: true,
      only: :fixed_window,
      doc:
        "`true` if windows start at multiples of the period in UTC, `false` if at the first call of an id."
    ]
  ]

  @window @schema ++
            [
              enforce: [
                type: :boolean,
                default: true,
                doc:
                  "`false` for a window in shadow mode: it counts, reports what it would deny, and admits."
              ]
            ]

  @changes @window
           |> Keyword.take([:limit, :per, :burst, :enforce])
           |> Enum.map(fn {key, rules} -> {key, Keyword.drop(rules, [:required, :default])} end)

  @enforce_keys [:algorithm, :limit, :per]
  defstruct [:algorithm, :limit, :per, :burst, :sub_windows, :aligned, enforce: true]

  @type t :: RateLimiter.limit()

  @doc "Returns the algorithms, all names of each."
  @spec algorithms() :: [atom]
  def algorithms, do: @algorithms

  @doc "Returns the type of an option that is a period."
  @spec period() :: {:custom, (term -> boolean), String.t()}
  def period, do: @period

  @doc "Returns the schema of a limit's options."
  @spec schema() :: Options.schema()
  def schema, do: @schema

  @doc "Returns the schema of a window's options: its limit, and whether that is enforced."
  @spec window_schema() :: Options.schema()
  def window_schema, do: @window

  @doc "Returns the limit that these options describe."
  @spec new!(term, Options.path()) :: t
  def new!(options, path), do: new!(options, path, @schema)

  @doc "Returns the limit of a window that these options describe."
  @spec new_window!(term, Options.path()) :: t
  def new_window!(options, path), do: new!(options, path, @window)

  defp new!(options, path, schema) do
    limit = struct!(__MODULE__, Options.validate!(options, schema, path))
    own!(limit, Map.new(options), path)
    limit = Map.merge(limit, Map.new(foreign(limit), &{&1, nil}))
    %{limit | sub_windows: filled!(limit, path).sub_windows}
  end

  @doc "Returns the limit with some numbers changed. A burst that was not configured follows the limit."
  @spec change!(t, term, Options.path()) :: t
  def change!(%__MODULE__{} = limit, options, path) do
    changes =
      options
      |> Options.validate!(@changes, path)
      |> Map.reject(fn {_key, value} -> is_nil(value) end)

    if changes == %{},
      do:
        Options.misuse!(path, "expected at least one of #{Options.list(Keyword.keys(@changes))}")

    own!(limit, changes, path)
    changed = Map.merge(limit, changes)
    filled!(changed, path)
    changed
  end

  @doc "Returns the limit with the burst and sub-windows that the core takes for it. Raises if the store cannot keep it."
  @spec filled!(t, Options.path(), :local | :redis) :: t
  def filled!(%__MODULE__{} = limit, path \\ [], store \\ :local) do
    case Native.limit_check(to_native({:limit, limit}), store) do
      {:ok, {burst, sub_windows}} -> %{limit | burst: burst, sub_windows: sub_windows}
      {:error, reason} -> Options.refused!(path, reason)
    end
  end

  @doc "Returns whether the limit is counted by a token bucket, by whichever of its names."
  @spec bucket?(t) :: boolean
  def bucket?(%__MODULE__{algorithm: algorithm}), do: algorithm in @token_buckets

  @doc "Returns the window as the native library takes it."
  @spec to_native({atom, t}) :: RateLimiter.Core.Native.window_spec()
  def to_native({name, %__MODULE__{} = limit}) do
    {name, native(limit.algorithm), limit.limit, nanoseconds(limit.per), limit.burst,
     limit.sub_windows, {limit.aligned == true, limit.enforce}}
  end

  @doc "Returns a period in nanoseconds."
  @spec nanoseconds(RateLimiter.period()) :: pos_integer
  def nanoseconds({n, unit}), do: n * @units[unit]
  def nanoseconds(unit), do: @units[unit]

  @doc "Returns whether this is a period."
  @spec period?(term) :: boolean
  def period?({n, unit}) when is_integer(n) and n > 0 and is_atom(unit),
    do: Keyword.has_key?(@units, unit) and n * @units[unit] <= @max_ns

  def period?(unit), do: is_atom(unit) and Keyword.has_key?(@units, unit)

  defp own!(limit, given, path) do
    for key <- foreign(limit), Map.has_key?(given, key) do
      Options.misuse!(
        path ++ [key],
        "applies to #{inspect(@schema[key][:only])} only, but the algorithm is #{inspect(limit.algorithm)}"
      )
    end
  end

  # The options that belong to other algorithms.
  defp foreign(%{algorithm: algorithm}) do
    for {key, rules} <- @schema, rules[:only] not in [nil, native(algorithm)], do: key
  end

  defp native(algorithm) when algorithm in @token_buckets, do: :token_bucket
  defp native(algorithm), do: algorithm
end
