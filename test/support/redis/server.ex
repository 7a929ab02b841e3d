defmodule RateLimiter.Support.Redis.Server do
  @moduledoc false
  # One real server on free ports, with a directory of its own; it ends with the process that started it.

  alias RateLimiter.Support.Program
  alias RateLimiter.Support.Redis.{Certificates, Connection}

  # Below those that the kernel gives to outgoing connections, one of which could take it before the server does.
  @ports 15_000..31_999
  @attempts 3
  @ready_ms 60_000
  @answer_ms 20_000

  @enforce_keys [:program, :directory, :port, :bus_port]
  defstruct [:program, :directory, :port, :bus_port, :user, :certificates]

  @type t :: %__MODULE__{
          program: Program.t(),
          directory: Path.t(),
          port: :inet.port_number(),
          bus_port: :inet.port_number(),
          user: {String.t(), String.t()} | nil,
          certificates: Certificates.t() | nil
        }

  @doc """
  Starts a server, and returns when it answers. Options:

    * `:program` - the executable, default what `REDIS_SERVER` names, or `redis-server`
    * `:arguments` - of the executable, behind the configuration
    * `:config` - more lines of the configuration, as `{name, values}` or as text
    * `:user` - name and password with which tests look into the server
    * `:tls` - whether its port speaks TLS, and asks for a client's certificate
  """
  @spec start!(keyword) :: t
  def start!(options \\ []), do: hd(start_all!([options]))

  @doc """
  Starts servers that are to know each other, each with its options.

  `introduce` gets them when their ports and directories are there, and before they run.
  """
  @spec start_all!([keyword], ([t] -> term)) :: [t]
  def start_all!(each, introduce \\ fn _servers -> :ok end),
    do: start_all!(each, introduce, @attempts)

  defp start_all!(each, introduce, attempts) do
    servers = Enum.zip_with(each, places(length(each)), &place/2)
    introduce.(servers)
    servers = Enum.zip_with(servers, each, &run/2)

    case Enum.find_value(servers, &failure/1) do
      nil ->
        servers

      output ->
        for server <- servers, do: Program.stop(server.program)
        # Somebody else was faster at taking a port.
        if output =~ "already in use" and attempts > 1,
          do: start_all!(each, introduce, attempts - 1),
          else: raise("the server did not start:\n#{output}")
    end
  end

  @doc "Sends a command, through the server's socket and as its tests' user."
  @spec command(t, [String.t() | integer], timeout) :: Connection.reply()
  def command(%__MODULE__{} = server, command, timeout \\ @answer_ms) do
    with {:ok, connection} <- Connection.open(socket(server), server.user, timeout) do
      try do
        Connection.ask(connection, command, timeout)
      after
        Connection.close(connection)
      end
    end
  end

  @doc "The same, where an error is a failure of the test."
  @spec command!(t, [String.t() | integer], timeout) :: term
  def command!(server, command, timeout \\ @answer_ms) do
    case command(server, command, timeout) do
      {:ok, reply} -> reply
      {:error, reason} -> raise "#{Enum.join(command, " ")}: #{inspect(reason)}"
    end
  end

  @doc "Waits until the server answers."
  @spec await!(t) :: t
  def await!(server) do
    if output = failure(server), do: raise("the server does not answer:\n#{output}")
    server
  end

  @doc "The path of its socket."
  @spec socket(t) :: Path.t()
  def socket(%__MODULE__{directory: directory}), do: Path.join(directory, "socket")

  @doc "What it has logged and printed."
  @spec output(t) :: String.t()
  def output(%__MODULE__{directory: directory}), do: File.read!(Path.join(directory, "output"))

  defp place(options, {port, bus_port}) do
    directory = temporary!()

    server = %__MODULE__{
      program: nil,
      directory: directory,
      port: port,
      bus_port: bus_port,
      user: options[:user],
      certificates: if(options[:tls], do: Certificates.write!(directory))
    }

    lines = common(server) ++ ports(server) ++ Keyword.get(options, :config, [])
    File.write!(configuration(server), Enum.map(lines, &[line(&1), "\n"]))
    server
  end

  defp run(server, options) do
    executable = executable!(Keyword.get_lazy(options, :program, &program/0))
    arguments = [configuration(server) | Keyword.get(options, :arguments, [])]
    {:ok, program} = Program.start_link(server.directory, executable, arguments)
    %{server | program: program}
  end

  defp program, do: System.get_env("REDIS_SERVER", "redis-server")

  defp configuration(%{directory: directory}), do: Path.join(directory, "redis.conf")

  defp executable!(name) do
    System.find_executable(name) ||
      raise "#{name} is not on the path: bin/setup installs it"
  end

  defp line({name, values}), do: "#{name} #{values}"
  defp line(text), do: text

  # Nothing is kept on disk but where a test says so, and a replica need not wait for others to come.
  defp common(server) do
    [
      bind: "127.0.0.1",
      dir: server.directory,
      unixsocket: socket(server),
      save: ~s(""),
      "repl-diskless-sync-delay": 0,
      "enable-debug-command": "local",
      "cluster-port": server.bus_port
    ]
  end

  defp ports(%{certificates: nil} = server), do: [port: server.port]

  defp ports(%{certificates: %{ca: ca, server: {certificate, key}}} = server) do
    [
      port: 0,
      "tls-port": server.port,
      "tls-ca-cert-file": ca,
      "tls-cert-file": certificate,
      "tls-key-file": key,
      "tls-auth-clients": "yes"
    ]
  end

  ## Ready

  # The output of a server that does not become ready.
  defp failure(server), do: failure(server, now() + @ready_ms)

  defp failure(server, deadline) do
    cond do
      command(server, ["PING"]) == {:ok, "PONG"} -> nil
      not Program.alive?(server.program) -> output(server)
      now() > deadline -> output(server)
      true -> again(fn -> failure(server, deadline) end)
    end
  end

  # A server cannot be waited for but by asking it.
  defp again(ask) do
    Process.sleep(3)
    ask.()
  end

  defp now, do: System.monotonic_time(:millisecond)

  ## Places

  # Short: a socket's path has room for about 100 characters.
  defp temporary! do
    name = "rl-" <> Base.encode32(:crypto.strong_rand_bytes(10), padding: false, case: :lower)
    directory = Path.join(System.tmp_dir!(), name)
    File.mkdir_p!(directory)
    directory
  end

  # All are held at once, so that no two are the same.
  defp places(count) do
    sockets = for _port <- 1..(2 * count), do: listen()
    sockets |> Enum.map(&release/1) |> Enum.chunk_every(2) |> Enum.map(&List.to_tuple/1)
  end

  defp listen do
    case :gen_tcp.listen(Enum.random(@ports), ip: {127, 0, 0, 1}) do
      {:ok, socket} -> socket
      {:error, _taken} -> listen()
    end
  end

  defp release(socket) do
    {:ok, port} = :inet.port(socket)
    :ok = :gen_tcp.close(socket)
    port
  end
end
