defmodule RateLimiter.Redis.Config do
  @moduledoc false
  # The options of the Redis store: one schema, checked before anything starts.

  alias RateLimiter.Core.Options
  alias RateLimiter.Redis.{Address, Secret}

  @path [:store]
  @secret {:that, &Secret.secret?/1, "a string, a function without arguments, or {:system, name}"}
  @nodes {:by, &__MODULE__.addresses!/2,
          "a non-empty list of nodes, each \"host:port\" or {host, port}"}

  @pem {:that, &__MODULE__.pem?/1, "the path of a PEM file"}

  @tls [
    cacertfile: [
      type: @pem,
      doc: "the authorities to trust. Default: the system's."
    ],
    certfile: [
      type: @pem,
      doc: "this node's certificate, where the server asks for one; with `:keyfile`."
    ],
    keyfile: [
      type: @pem,
      doc: "the key of it."
    ],
    verify: [
      type: {:in, [:verify_peer, :verify_none]},
      default: :verify_peer,
      doc: "whether the server must prove who it is. `:verify_none` is for trying things out."
    ]
  ]

  @schema [
    url: [
      type: @secret,
      secret: true,
      doc:
        "`\"redis://user:password@host:port/database\"`, with `rediss:` over TLS, or `\"unix:/path?db=1\"` for a " <>
          "socket. A string, or like `:password` a function or `{:system, name}`, which is asked once, at start. " <>
          "What is said beside it goes before what it says."
    ],
    host: [
      type: {:by, &__MODULE__.host!/2, "a host's name or address"},
      doc: "the server, where no `:url` names it. Default: `\"localhost\"`."
    ],
    port: [
      type: {:integer, 1, 65_535},
      doc: "its port. Default: `6379`."
    ],
    database: [
      type: {:integer, 0, 1_000_000},
      doc: "the database's number. Default: `0`, which is all that a cluster has."
    ],
    username: [
      type: {:that, &__MODULE__.text?/1, "a string"},
      doc: "the ACL user. Default: the server's default user."
    ],
    password: [
      type: @secret,
      secret: true,
      doc:
        "a string, a function without arguments that returns one, or `{:system, name}` for an environment " <>
          "variable. The last two are asked whenever a connection is lost."
    ],
    ssl: [
      type: {:by, &__MODULE__.ssl!/2, "true, false or a keyword list"},
      doc:
        "whether to speak TLS, or with which files, which are read again whenever a connection is lost. Default: what " <>
          "the `:url` says, else `false`.",
      keys: @tls
    ],
    sentinels: [
      type: @nodes,
      doc:
        "the Sentinels to ask for the primary, each `\"host:port\"` or `{host, port}`, the port 26379 where none " <>
          "is said."
    ],
    group: [
      type: {:that, &__MODULE__.text?/1, "a string"},
      doc: "the name by which they know it. Default: `\"mymaster\"`."
    ],
    sentinel_username: [
      type: {:that, &__MODULE__.text?/1, "a string"},
      doc: "the user of the Sentinels themselves, where they have any."
    ],
    sentinel_password: [
      type: @secret,
      secret: true,
      doc: "its password, as `:password`, but asked once, at start."
    ],
    cluster: [
      type: @nodes,
      doc: "some nodes of a cluster; the others are learnt from them."
    ],
    prefix: [
      type: {:that, &__MODULE__.prefix?/1, "a string of 1 to 64 bytes without braces"},
      default: "rate_limiter",
      doc: "what all keys in Redis begin with: limiters of the same prefix and name are one."
    ],
    timeout: [
      type: {:integer, 1, 60_000},
      default: 50,
      doc:
        "the milliseconds after which a call is answered without Redis, whatever happens there."
    ],
    connections: [
      type: {:integer, 1, 64},
      default: 1,
      doc:
        "how many to each server. Calls of the same time travel together: one is seldom too few."
    ],
    nodes: [
      type: {:integer, 1, 100_000},
      default: 1,
      doc:
        "how many nodes share the limits, for a node that has not heard of the others because it started while " <>
          "Redis was away. Else the nodes count each other, in Redis."
    ],
    cache_denials: [
      type: :boolean,
      default: true,
      doc:
        "whether a denial is repeated from memory until its time to retry has come, for a second at most: a refund " <>
          "or a reset by another node is seen so much later."
    ],
    max_queue: [
      type: {:integer, 1, 1_000_000},
      default: 16_384,
      doc: "how many calls may wait at once. Those above it are answered as if Redis were away."
    ]
  ]

  @secrets for {key, rules} <- @schema, rules[:secret], do: key

  @enforce_keys [:topology, :prefix, :timeout]
  @derive {Inspect, except: [:password, :sentinel_password]}
  defstruct [
    :topology,
    :database,
    :username,
    :password,
    :sentinel_username,
    :sentinel_password,
    :ssl,
    :prefix,
    :timeout,
    :connections,
    :nodes,
    :cache_denials,
    :max_queue
  ]

  @type tls :: %{
          cacertfile: String.t() | nil,
          certfile: String.t() | nil,
          keyfile: String.t() | nil,
          verify: :verify_peer | :verify_none
        }
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
          ssl: tls | nil,
          prefix: String.t(),
          timeout: pos_integer,
          connections: pos_integer,
          nodes: pos_integer,
          cache_denials: boolean,
          max_queue: pos_integer
        }

  @doc "The store's options, checked."
  @spec new!(term) :: t
  def new!(options) do
    unless named?(options), do: unreadable!()
    given = Options.validate!(options, @schema, @path)
    url = url!(given.url)
    check_topology!(given)
    check_tls!(given.ssl)

    config = %__MODULE__{
      topology: topology(given, url),
      database: given.database || url[:database] || 0,
      username: given.username || url[:username],
      password: Secret.hide(given.password || url[:password]),
      sentinel_username: given.sentinel_username,
      sentinel_password: once!(given.sentinel_password, :sentinel_password),
      ssl: if(is_nil(given.ssl), do: ssl!(url[:ssl] == true, @path), else: given.ssl) || nil,
      prefix: given.prefix,
      timeout: given.timeout,
      connections: given.connections,
      nodes: given.nodes,
      cache_denials: given.cache_denials,
      max_queue: given.max_queue
    }

    check_parts!(config)
    config
  end

  @doc "The store's options with what must not be seen out of sight; what are none stay as they are."
  @spec hide(term) :: term
  def hide(options) do
    if named?(options) do
      Enum.map(options, fn
        {key, value} when key in @secrets -> {key, Secret.hide(value)}
        other -> other
      end)
    else
      options
    end
  end

  @doc "The store's options, for their documentation."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@schema)

  @doc false
  def host!(host, path) do
    if Address.host?(host), do: host, else: refused!(path, "a host's name or address", host)
  end

  @doc false
  def addresses!([_ | _] = nodes, path) do
    port = if List.last(path) == :sentinels, do: 26_379, else: 6379

    if List.improper?(nodes), do: not_nodes!(nodes, path)
    Enum.map(nodes, &address!(&1, port, path))
  end

  def addresses!(other, path), do: not_nodes!(other, path)

  @doc false
  def ssl!(false, _path), do: false
  def ssl!(true, path), do: tls([], path)

  def ssl!(options, path) do
    if named?(options),
      do: tls(options, path),
      else: Options.expected!(path, "true, false or a keyword list", options)
  end

  @doc false
  def pem?(path) do
    case is_binary(path) && File.read(path) do
      {:ok, content} -> content =~ "-----BEGIN "
      _unreadable -> false
    end
  end

  @doc false
  def text?(text), do: is_binary(text) and text != "" and String.valid?(text)

  @doc false
  # Braces say to a cluster what part of a key decides where it lies.
  def prefix?(prefix),
    do: text?(prefix) and byte_size(prefix) <= 64 and not String.contains?(prefix, ["{", "}"])

  defp named?(options),
    do: Keyword.keyword?(options) or (is_map(options) and Enum.all?(options, &named_entry?/1))

  defp named_entry?({key, _value}), do: is_atom(key)

  # A list of another shape may hold a password where none is looked for.
  @spec unreadable!() :: no_return
  defp unreadable! do
    Options.misuse!(
      @path,
      "expected {:redis, options} with a keyword list of options such as [url: \"redis://localhost:6379\"]; " <>
        "what came is not shown, since it may hold a password"
    )
  end

  defp tls(options, path), do: Options.validate!(options, @tls, path)

  defp address!(node, port, path) do
    case Address.node(node, port) do
      {:ok, address} ->
        address

      :error ->
        refused!(path, "\"host:port\" or {host, port}, without user and password", node)
    end
  end

  @spec not_nodes!(term, Options.path()) :: no_return
  defp not_nodes!(nodes, path),
    do: refused!(path, "a non-empty list of nodes, each \"host:port\" or {host, port}", nodes)

  # Who names nodes by URLs may have written a password there.
  @spec refused!(Options.path(), String.t(), term) :: no_return
  defp refused!(path, expected, got) do
    if harmless?(got),
      do: Options.expected!(path, expected, got),
      else:
        Options.misuse!(
          path,
          "expected #{expected}; what came is not shown, since it may hold a password"
        )
  end

  defp harmless?(text) when is_binary(text), do: not String.contains?(text, "@")
  defp harmless?([first | rest]), do: harmless?(first) and harmless?(rest)
  defp harmless?({:password, _value}), do: false
  defp harmless?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> harmless?()
  defp harmless?(other), do: is_atom(other) or is_number(other) or other == []

  defp url!(nil), do: nil

  defp url!(secret), do: once!(secret, :url).() |> Address.url() |> parsed!()

  # What a secret says now, out of sight again.
  defp once!(nil, _key), do: nil

  defp once!(secret, key) do
    case secret |> Secret.hide() |> Secret.read() do
      {:ok, string} -> Secret.hide(string)
      {:error, reason} -> Options.misuse!(@path ++ [key], reason)
    end
  end

  defp parsed!({:ok, url}), do: url

  defp parsed!(:error) do
    Options.misuse!(
      @path ++ [:url],
      "expected \"redis://host:port/database\", \"rediss://...\" or \"unix:/path\"; what came is not shown, " <>
        "since it may hold a password"
    )
  end

  defp topology(%{cluster: nodes}, _url) when nodes != nil, do: {:cluster, nodes}

  defp topology(%{sentinels: nodes} = given, _url) when nodes != nil,
    do: {:sentinel, given.group || "mymaster", nodes}

  defp topology(_given, %{address: address}), do: {:server, address}

  defp topology(given, nil),
    do: {:server, {:tcp, given.host || "localhost", given.port || 6379}}

  # A server is named in one way, so that none is ignored.
  defp check_topology!(given) do
    ways = for {way, keys} <- ways(), key = Enum.find(keys, &given[&1]), do: {way, key}

    with [{_, one}, {_, other} | _] <- ways do
      Options.misuse!(
        @path,
        "expected one of :url, :host with :port, :sentinels and :cluster, got: #{inspect(one)} and #{inspect(other)}"
      )
    end

    for key <- [:group, :sentinel_username, :sentinel_password], given[key] && !given.sentinels do
      Options.misuse!(@path ++ [key], "is only for :sentinels")
    end
  end

  defp ways,
    do: [url: [:url], host: [:host, :port], sentinels: [:sentinels], cluster: [:cluster]]

  defp check_tls!(none) when none in [nil, false], do: :ok

  defp check_tls!(tls) do
    for {one, other} <- [certfile: :keyfile, keyfile: :certfile], tls[one] && !tls[other] do
      Options.misuse!(@path ++ [:ssl, other], "is required where #{inspect(one)} is given")
    end
  end

  defp check_parts!(%{topology: {:cluster, _}, database: database}) when database > 0,
    do: Options.expected!(@path ++ [:database], "0, which is all that a cluster has", database)

  defp check_parts!(%{topology: {:server, {:unix, _}}, ssl: ssl}) when ssl != nil,
    do: Options.misuse!(@path ++ [:ssl], "is not for a socket")

  defp check_parts!(%{username: name, password: nil}) when name != nil,
    do: Options.misuse!(@path ++ [:password], "is required where :username is given")

  # A function may fail now and work later; a variable that is not set is an oversight.
  defp check_parts!(%{password: {:system, _name} = password}) do
    with {:error, reason} <- Secret.read(password),
         do: Options.misuse!(@path ++ [:password], reason)
  end

  defp check_parts!(_config), do: :ok
end
