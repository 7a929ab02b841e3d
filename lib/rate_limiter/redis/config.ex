defmodule RateLimiter.Redis.Config do
  @moduledoc false
  # The options of the Redis store: one schema, validated before anything starts.

  alias RateLimiter.Core.{Options, Secret}
  alias RateLimiter.Redis.{Address, Certificates}

  @path [:store]
  @nodes {:custom, &Address.nodes!/2, "a non-empty list of nodes"}
  @text {:custom, &__MODULE__.text?/1, "a string"}

  @schema [
    url: [
      type: Secret.type(),
      secret: true,
      doc:
        "`\"redis://user:password@host:port/database\"`, with `rediss:` for TLS, or `\"unix:/path?db=1\"` for a " <>
          "Unix socket. A string, or like `:password` a function or `{:system, name}`, which is read once, at start. " <>
          "The options below take precedence over parts of the URL."
    ],
    host: [
      type: {:custom, &Address.host!/2, "a host name or address"},
      doc: "the host of the server, without `:url`. Default: `\"localhost\"`."
    ],
    port: [
      type: {:in, 1..65_535},
      doc: "the port of the server, without `:url`. Default: `6379`."
    ],
    database: [
      type: {:in, 0..1_000_000},
      secret: true,
      doc: "the number of the database. Default: `0`, the only one of a cluster."
    ],
    username: [
      type: @text,
      secret: true,
      doc: "the ACL user. Default: the default user of the server."
    ],
    password: [
      type: Secret.type(),
      secret: true,
      doc:
        "a string, a zero-arity function that returns one, or `{:system, name}` for an environment variable. The " <>
          "last two are read again after each loss of a connection."
    ],
    ssl: [
      type: {:custom, &Certificates.options!/2, "true, false or a keyword list"},
      doc:
        "whether to use TLS, or the options below. Files are read again after each loss of a connection. Default: " <>
          "`true` for a `:url` with `rediss:`, else `false`.",
      keys: Certificates.schema()
    ],
    sentinels: [
      type: @nodes,
      doc:
        "the Sentinels that know the primary, each `\"host:port\"` or `{host, port}`. Default port: 26379."
    ],
    group: [
      type: @text,
      secret: true,
      doc: "the name of the primary in the Sentinels. Default: `\"mymaster\"`."
    ],
    sentinel_username: [
      type: @text,
      secret: true,
      doc: "the ACL user of the Sentinels."
    ],
    sentinel_password: [
      type: Secret.type(),
      secret: true,
      doc: "the password of the Sentinels, in the forms of `:password`, read once, at start."
    ],
    sentinel_ssl: [
      type: {:custom, &Certificates.options!/2, "true, false or a keyword list"},
      doc:
        "whether to use TLS to the Sentinels, in the forms of `:ssl`. Default: as for the servers, by `:ssl`.",
      keys: Certificates.schema()
    ],
    cluster: [
      type: @nodes,
      doc: "some nodes of a cluster, from which the others are discovered."
    ],
    prefix: [
      type:
        {:custom, &__MODULE__.prefix?/1, "1 to 64 letters, digits or characters of . : / _ @ + -"},
      default: "rate_limiter",
      doc:
        "the prefix of all keys in Redis, as it is: `~prefix:*` is the pattern for an ACL user. Limiters of the same prefix " <>
          "and name are one limiter."
    ],
    id_key: [
      type: Secret.type(),
      secret: true,
      doc:
        "a key of at least 16 bytes, in the forms of `:password`, read once, at start. With it, the names of keys in Redis have " <>
          "no id, but an HMAC-SHA-256 of it. All nodes need the same one: under another, usage begins anew."
    ],
    timeout: [
      type: {:in, 1..60_000},
      default: 50,
      doc: "the milliseconds after which a call is answered without Redis, in any case."
    ],
    connect_timeout: [
      type: {:in, 10..60_000},
      default: 2_000,
      doc:
        "the milliseconds for an attempt to connect, with all its steps: up to five round trips. Also for Sentinels and " <>
          "for the nodes of a cluster. No call waits for it."
    ],
    connections: [
      type: {:in, 1..64},
      default: 1,
      doc:
        "the number of connections to each server. Concurrent calls are sent as one batch, so one is usually enough."
    ],
    nodes: [
      type: {:in, 1..100_000},
      doc:
        "the least number of nodes among which limits are divided in an outage of Redis. The nodes count each other, in " <>
          "Redis, but a node that starts during an outage knows no other: set this to about the number of your nodes. " <>
          "Default: `1`, with which such a node admits the whole limit, so that the start of the instance logs a warning."
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

  # The options that are functions, once hidden. Messages do not show the values of some others either: a password that was
  # passed in the wrong place.
  @secrets for {key, rules} <- @schema, rules[:type] == Secret.type(), do: key

  @enforce_keys [:topology, :prefix, :timeout]
  @derive {Inspect, except: [:password, :sentinel_password, :id_key]}
  defstruct [
    :topology,
    :database,
    :username,
    :password,
    :sentinel_username,
    :sentinel_password,
    :ssl,
    :sentinel_ssl,
    :prefix,
    :id_key,
    :timeout,
    :connect_timeout,
    :connections,
    :nodes,
    :cache_denials,
    :max_queue
  ]

  @type topology ::
          {:server, Address.t()}
          | {:sentinel, group :: String.t(), [Address.t(), ...]}
          | {:cluster, [Address.t(), ...]}
  @type t :: %__MODULE__{
          topology: topology,
          database: non_neg_integer,
          username: String.t() | nil,
          password: Secret.t() | nil,
          sentinel_username: String.t() | nil,
          sentinel_password: Secret.t() | nil,
          ssl: Certificates.options() | nil,
          sentinel_ssl: Certificates.options() | false | nil,
          prefix: String.t(),
          id_key: Secret.t() | nil,
          timeout: pos_integer,
          connect_timeout: pos_integer,
          connections: pos_integer,
          nodes: pos_integer | nil,
          cache_denials: boolean,
          max_queue: pos_integer
        }

  @doc "Validates the options of the store."
  @spec new!(term) :: t
  def new!(options) do
    unless Options.named?(options),
      do:
        Options.hidden!(
          @path,
          "{:redis, options} with options such as [url: \"redis://localhost:6379\"]"
        )

    given = Options.validate!(options, @schema, @path)
    url = url!(given.url)
    check_topology!(given)

    # Options that only name the topology have no field of their own.
    config =
      struct(
        __MODULE__,
        Map.merge(given, %{
          topology: topology(given, url),
          database: given.database || url[:database] || 0,
          username: given.username || url[:username],
          password: Secret.hide(given.password || url[:password]),
          sentinel_password: read_once!(given.sentinel_password, :sentinel_password),
          id_key: id_key!(given.id_key),
          ssl: ssl!(given.ssl, url[:ssl] == true)
        })
      )

    check!(config)
    config
  end

  @doc "Hides the secrets in unvalidated options."
  @spec hide(term) :: term
  def hide(options) do
    Options.map(options, fn
      {key, value} when key in @secrets -> {key, Secret.hide(value)}
      other -> other
    end)
  end

  @doc "Returns the documentation of the options."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@schema)

  @doc false
  def text?(text), do: is_binary(text) and text != "" and String.valid?(text)

  @doc false
  # Plain characters, which no part of a key escapes and no ACL pattern interprets.
  def prefix?(prefix), do: text?(prefix) and prefix =~ ~r/\A[A-Za-z0-9.:\/_@+-]{1,64}\z/

  defp url!(nil), do: nil

  defp url!(secret) do
    case read_once!(secret, :url).() |> Address.url() do
      {:ok, url} ->
        url

      :error ->
        Options.hidden!(
          @path ++ [:url],
          "\"redis://host:port/database\", \"rediss://...\" or \"unix:/path\""
        )
    end
  end

  # The current value of a secret, hidden again.
  defp read_once!(nil, _key), do: nil

  defp read_once!(secret, key) do
    case secret |> Secret.hide() |> Secret.read() do
      {:ok, string} -> Secret.hide(string)
      {:error, reason} -> Options.misuse!(@path ++ [key], reason)
    end
  end

  defp id_key!(nil), do: nil
  defp id_key!(secret), do: secret |> Secret.key!(@path ++ [:id_key]) |> Secret.hide()

  defp ssl!(nil, default), do: ssl!(Certificates.options!(default, @path), default)
  defp ssl!(options, _default), do: options || nil

  defp topology(%{cluster: nodes}, _url) when nodes != nil, do: {:cluster, nodes}

  defp topology(%{sentinels: nodes} = given, _url) when nodes != nil,
    do: {:sentinel, given.group || "mymaster", nodes}

  defp topology(_given, %{address: address}), do: {:server, address}

  defp topology(given, nil),
    do: {:server, {:tcp, given.host || "localhost", given.port || 6379}}

  # Of two ways to name the server, one would be ignored.
  defp check_topology!(given) do
    ways = [url: [:url], host: [:host, :port], sentinels: [:sentinels], cluster: [:cluster]]

    with [one, other | _] <- for({_way, keys} <- ways, key = Enum.find(keys, &given[&1]), do: key) do
      Options.misuse!(
        @path,
        "expected one of :url, :host with :port, :sentinels and :cluster, got: #{inspect(one)} and #{inspect(other)}"
      )
    end

    for key <- [:group, :sentinel_username, :sentinel_password, :sentinel_ssl],
        given[key] != nil and !given.sentinels do
      Options.misuse!(@path ++ [key], "applies to :sentinels only")
    end
  end

  defp check!(%{topology: {:cluster, _}, database: database}) when database > 0,
    do: Options.expected!(@path ++ [:database], "0, the only database of a cluster", database)

  defp check!(%{topology: {:server, {:unix, _}}, ssl: ssl}) when ssl != nil,
    do: Options.misuse!(@path ++ [:ssl], "is not supported for a Unix socket")

  defp check!(%{username: name, password: nil}) when name != nil,
    do: Options.misuse!(@path ++ [:password], "is required with :username")

  # A function may fail now and succeed later. A variable that is not set is an oversight.
  defp check!(%{password: {:system, _name} = password}) do
    with {:error, reason} <- Secret.read(password),
         do: Options.misuse!(@path ++ [:password], reason)
  end

  defp check!(_config), do: :ok
end
