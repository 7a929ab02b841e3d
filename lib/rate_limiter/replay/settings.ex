defmodule RateLimiter.Replay.Settings do
  @moduledoc false
  # The options of a replay: one schema, checked before a file is opened.

  alias RateLimiter.Core.{Limit, Options}
  alias RateLimiter.Replay.Fields
  alias RateLimiter.Terminal.LimitText

  @names {:that, &__MODULE__.names?/1, "a field's name, or a list of them without a name twice"}

  @schema [
    limits: [
      type: {:that, &__MODULE__.limits?/1, "a list of limits, at least one"},
      required: true,
      doc:
        "what to judge by: texts such as `\"60/min\"` or `\"10/s:burst=20:token_bucket\"`, or the options of a " <>
          "window, `[limit: 60, per: :minute]`."
    ],
    by: [
      type: @names,
      default: "ip",
      doc:
        "who is asking: #{Fields.list()}, or any field of a JSON line, with dots into nested objects. Several " <>
          "together are one id."
    ],
    cost: [
      type: {:or, [{:that, &is_binary/1, "a field's name"}, {:in, [nil]}]},
      default: nil,
      doc:
        "the field that says what a request costs, such as `\"bytes\"`; without one it costs 1."
    ],
    format: [
      type: {:in, [:auto, :clf, :json]},
      default: :auto,
      doc: "how lines are written. `:auto` tells by each line's first byte."
    ],
    time_field: [
      type: {:or, [{:that, &is_binary/1, "a field's name"}, {:in, [nil]}]},
      default: nil,
      doc:
        "the field of a JSON line that holds the time. Without one it is the first of " <>
          "#{Enum.map_join(Fields.time(), ", ", &"`#{&1}`")}."
    ],
    time_unit: [
      type: {:in, [nil, :second, :millisecond, :microsecond, :nanosecond]},
      default: nil,
      doc: "what a time that is a bare number counts since 1970; without it its magnitude tells."
    ],
    fields: [
      type: {:that, &__MODULE__.renamed?/1, "a map from #{Fields.list()} to names in JSON"},
      default: %{},
      doc:
        "names of these fields in JSON, `%{\"ip\" => \"client.address\"}`, where the usual ones do not fit."
    ],
    reorder_ms: [
      type: {:integer, 0, 86_400_000},
      default: 60_000,
      doc:
        "how many milliseconds behind its log's latest time a line is still put into its place."
    ],
    fit: [
      type: :boolean,
      default: true,
      doc: "whether to look for the smallest limit, for which requests are kept in memory."
    ],
    shares_ppm: [
      type: {:that, &__MODULE__.shares?/1, "a list of integers from 0 to 1,000,000"},
      default: [0, 10_000],
      doc: "the shares of ids that the smallest limit may deny, in parts per million."
    ],
    top: [
      type: {:integer, 0, 10_000},
      default: 10,
      doc: "how many of the ids denied most often to name."
    ],
    progress: [
      type: {:or, [{:that, &__MODULE__.callback?/1, "a function of one argument"}, {:in, [nil]}]},
      default: nil,
      doc:
        "called after each piece that was read, with a map of `:lines`, `:bytes` and `:size` (`nil` if unknown), " <>
          "and with `:fitting` when all is read."
    ]
  ]

  @enforce_keys Keyword.keys(@schema)
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          limits: [Limit.t(), ...],
          by: [String.t(), ...],
          cost: String.t() | nil,
          format: :auto | :clf | :json,
          time_field: String.t() | nil,
          time_unit: atom,
          fields: %{String.t() => String.t()},
          reorder_ms: non_neg_integer,
          fit: boolean,
          shares_ppm: [non_neg_integer],
          top: non_neg_integer,
          progress: (map | :fitting -> any) | nil
        }

  @doc "The options, checked, or an `ArgumentError` that says what was expected."
  @spec new!(keyword) :: t
  def new!(options) do
    settings = struct!(__MODULE__, Options.validate!(options, @schema, []))

    %{settings | limits: Enum.map(settings.limits, &limit!/1), by: List.wrap(settings.by)}
    |> check_format!()
  end

  @doc "The options for documentation."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@schema)

  @doc "What to read of each line, as the native library takes it."
  @spec to_native(t) :: RateLimiter.Core.Native.schema()
  def to_native(%__MODULE__{} = settings) do
    time = if settings.time_field, do: [settings.time_field], else: Fields.time()
    key = Enum.map(settings.by, &Fields.part(&1, settings.fields))
    cost = settings.cost && Fields.part(settings.cost, settings.fields)
    {settings.format, time, settings.time_unit, key, cost}
  end

  defp limit!(text) when is_binary(text) do
    case LimitText.parse(text) do
      {:ok, limit} -> limit
      {:error, message} -> raise ArgumentError, message
    end
  end

  defp limit!(options), do: Limit.new!(options, [:limits])

  # Before ten million lines are found to be without the field.
  defp check_format!(%__MODULE__{format: :clf} = settings) do
    names = settings.by ++ List.wrap(settings.cost)

    case Enum.find(names, &(not Fields.word?(&1))) do
      nil ->
        settings

      name ->
        Options.expected!([:by], "a field of Common Log Format (#{Fields.list()})", name)
    end
  end

  defp check_format!(settings), do: settings

  @doc false
  def names?(name) when is_binary(name), do: name != ""

  def names?([_ | _] = names),
    do: Enum.all?(names, &(is_binary(&1) and &1 != "")) and names == Enum.uniq(names)

  def names?(_), do: false

  @doc false
  def callback?(progress), do: is_function(progress, 1)

  @doc false
  def limits?(limits), do: is_list(limits) and limits != []

  @doc false
  def renamed?(%{} = fields),
    do: Enum.all?(fields, fn {word, name} -> is_binary(name) and Fields.word?(word) end)

  def renamed?(_), do: false

  @doc false
  def shares?(shares),
    do: is_list(shares) and Enum.all?(shares, &(is_integer(&1) and &1 in 0..1_000_000))
end
