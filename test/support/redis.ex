defmodule RateLimiter.Support.Redis do
  @moduledoc false
  # Real servers for tests, and what can go wrong with them.
  #
  #     server = Redis.start!()
  #     RateLimiter.start_link(store: {:redis, url: Redis.url(server)}, ...)
  #     Redis.freeze(server)
  #
  # All that is started ends with the process that started it: a test's with the test, that of a `setup_all` with its
  # module, however they end. Loopback only; nothing is left on the disk.

  alias RateLimiter.Support.Program
  alias RateLimiter.Support.Redis.{Cluster, Connection, Sentinel, Server}

  @programs ~w(redis-server valkey-server)
  # A Sentinel that stood still for two seconds does nothing for half a minute.

  @admin {"admin", "look inside"}

  ## To start

  @doc "The servers that are to be tested: the one that `REDIS_SERVER` names, or all that are on the path."
  @spec programs() :: [String.t()]
  def programs do
    case System.get_env("REDIS_SERVER") do
      nil -> Enum.filter(@programs, &System.find_executable/1)
      program -> [program]
    end
  end

  @doc "One server, with the options of `Server.start!/1`."
  @spec start!(keyword) :: Server.t()
  defdelegate start!(options \\ []), to: Server

  @doc """
  One server that speaks TLS only, asks for a client's certificate, and knows no user without a password.

  `users` are lines as `ACL SETUSER` takes them: `"limiter on >secret ~rate_limiter:* +@all"`. The certificates are in
  the server's `certificates`.
  """
  @spec start_secured!([String.t()], keyword) :: Server.t()
  def start_secured!(users, options \\ []) do
    {name, password} = @admin

    users = ["default off", "#{name} on #{hashed(password)} ~* &* +@all"] ++ users

    config = for user <- users, do: {:user, user}
    [tls: true, user: @admin, config: config] |> Keyword.merge(options) |> Server.start!()
  end

  @doc "A primary, its replica and a Sentinel."
  @spec start_sentinel!(keyword) :: Sentinel.t()
  defdelegate start_sentinel!(options \\ []), to: Sentinel, as: :start!

  @doc "Three primaries and three replicas."
  @spec start_cluster!(keyword) :: Cluster.t()
  defdelegate start_cluster!(options \\ []), to: Cluster, as: :start!

  ## To look inside

  @doc "Where the server is: `redis://` or, where it speaks TLS, `rediss://`."
  @spec url(Server.t()) :: String.t()
  def url(%Server{certificates: nil, port: port}), do: "redis://127.0.0.1:#{port}"
  def url(%Server{port: port}), do: "rediss://localhost:#{port}"

  @doc "The option `:ssl` for a server that speaks TLS."
  @spec ssl(Server.t()) :: keyword
  def ssl(%Server{certificates: %{ca: ca, client: {certificate, key}}}),
    do: [cacertfile: ca, certfile: certificate, keyfile: key]

  @spec command(Server.t(), [String.t() | integer]) :: Connection.reply()
  defdelegate command(server, command), to: Server

  @spec command!(Server.t(), [String.t() | integer]) :: term
  defdelegate command!(server, command), to: Server

  @doc "A field of `INFO`, or `nil`; also where the server does not answer, as one that is just promoted does not."
  @spec info(Server.t(), String.t()) :: String.t() | nil
  def info(server, field) do
    with {:ok, info} <- Server.command(server, ["INFO", "everything"]),
         [_line, value] <- Regex.run(~r/^#{Regex.escape(field)}:(.*?)\r?$/m, info) do
      value
    else
      _nothing -> nil
    end
  end

  ## To break

  @doc "Stops the server with `SIGSTOP`: connections stay open, and no answer comes."
  @spec freeze(Server.t()) :: :ok
  def freeze(%Server{program: program}), do: Program.freeze(program)

  @doc "Lets a frozen server go on, with all that was sent to it meanwhile."
  @spec thaw(Server.t()) :: :ok
  def thaw(%Server{program: program}), do: Program.thaw(program)

  @doc "Kills the server with `SIGKILL`, and returns when it is gone. Its data are lost, if it kept none on disk."
  @spec kill(Server.t()) :: :ok
  def kill(%Server{program: program}), do: Program.kill(program)

  @doc "Starts a killed server again, and returns at once."
  @spec start_again(Server.t()) :: :ok
  def start_again(%Server{program: program}), do: Program.start(program)

  @doc "Starts a killed server again, on the same ports, and returns when it answers."
  @spec restart!(Server.t()) :: Server.t()
  def restart!(%Server{} = server) do
    :ok = start_again(server)
    Server.await!(server)
  end

  ## To wait

  defdelegate eventually(condition), to: RateLimiter.Support.Eventually

  @doc "Returns when a limiter's answers come from Redis: an instance starts without waiting for it."
  @spec ready!(atom, atom) :: :ok
  def ready!(limiter, window) do
    eventually(fn ->
      match?({:ok, %{source: :redis}}, RateLimiter.get_usage(limiter, 1, window))
    end)
  end

  @doc "The keys of limiters, of whatever prefix: not those by which nodes count each other and try the server."
  @spec keys(Server.t()) :: [String.t()]
  def keys(server),
    do: for(key <- command!(server, ["KEYS", "*:{*:*}:*"]), not (key =~ "{!"), do: key)

  # Spaces would end a password that is written out.
  defp hashed(password), do: "#" <> Base.encode16(:crypto.hash(:sha256, password), case: :lower)
end
