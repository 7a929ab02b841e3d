defmodule RateLimiter.Store.Config do
  @moduledoc false
  # The options of a store that is written in Elixir: those that this library takes, and those of the store.

  alias RateLimiter.Core.{Options, Secret}
  alias RateLimiter.Redis

  @path [:store]

  @schema [
    prefix: [
      type:
        {:custom, &Redis.Config.prefix?/1,
         "1 to 64 letters, digits or characters of . : / _ @ + -"},
      default: "rate_limiter",
      doc:
        "the prefix of all keys. Limiters of the same prefix and name are one limiter on all nodes that use the store."
    ],
    id_key: [
      type: Secret.type(),
      secret: true,
      doc:
        "a key of at least 16 bytes: a string, a zero-arity function, or `{:system, name}` for an environment variable. With " <>
          "it, keys have no id, but an HMAC-SHA-256 of it. All nodes need the same one."
    ],
    timeout: [
      type: {:in, 1..60_000},
      default: 100,
      doc: "the milliseconds after which a call is answered without the store, in any case."
    ],
    workers: [
      type: {:in, 1..64},
      default: 4,
      doc:
        "the number of processes that call the store at the same time. Each has one batch at a time, and calls about one key " <>
          "go to the same one."
    ],
    nodes: [
      type: {:in, 1..100_000},
      required: true,
      doc:
        "the number of nodes among which limits are divided while the store does not answer. A smaller number than the real " <>
          "one admits more than the limit then."
    ],
    cache_denials: [
      type: :boolean,
      default: true,
      doc:
        "whether a denial is repeated from memory until its time to retry, for at most a second: a refund or a reset " <>
          "by another node takes effect that much later."
    ],
    max_queue: [
      type: {:in, 1..1_000_000},
      default: 16_384,
      doc: "the maximum number of waiting calls. Calls beyond that are answered as in an outage."
    ]
  ]

  @keys Keyword.keys(@schema)

  @enforce_keys [:module, :options | @keys]
  @derive {Inspect, except: [:options, :id_key]}
  defstruct [:module, :options | @keys]

  @type t :: %__MODULE__{
          module: module,
          options: keyword,
          prefix: String.t(),
          id_key: Secret.t() | nil,
          timeout: pos_integer,
          workers: pos_integer,
          nodes: pos_integer,
          cache_denials: boolean,
          max_queue: pos_integer
        }

  @doc "Returns whether a module implements a store."
  @spec store?(term) :: boolean
  def store?(module) do
    is_atom(module) and Code.ensure_loaded?(module) and function_exported?(module, :init, 1) and
      function_exported?(module, :update, 3)
  end

  @doc "Validates the options of a store."
  @spec new!(module, term) :: t
  def new!(module, options) do
    unless Keyword.keyword?(options),
      do: Options.hidden!(@path, "{#{inspect(module)}, options} with a keyword list")

    {own, options} = Keyword.split(options, @keys)
    own = Options.validate!(own, @schema, @path)

    fields = Map.merge(own, %{module: module, options: options, id_key: id_key!(own.id_key)})
    struct!(__MODULE__, fields)
  end

  @doc "Hides the secrets in unvalidated options."
  @spec hide(term) :: term
  def hide(options) do
    Options.map(options, fn
      {:id_key, value} -> {:id_key, Secret.hide(value)}
      other -> other
    end)
  end

  @doc "Returns the documentation of the options."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@schema)

  defp id_key!(nil), do: nil
  defp id_key!(secret), do: secret |> Secret.key!(@path ++ [:id_key]) |> Secret.hide()
end
