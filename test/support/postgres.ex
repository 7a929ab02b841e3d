defmodule RateLimiter.Support.Postgres do
  @moduledoc false
  # A real PostgreSQL for tests, on a free port of the loopback, and connections to it through Debian's p1_pgsql.
  #
  # The server refuses to run as root, so root starts it as the user that its package has made. It ends with the process
  # that started it.

  import RateLimiter.Support.Eventually

  alias RateLimiter.Support.Program

  @ports 15_000..31_999
  @user "postgres"
  @answer_ms 60_000

  @enforce_keys [:program, :directory, :port, :idle]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          program: Program.t(),
          directory: Path.t(),
          port: :inet.port_number(),
          idle: :ets.tid()
        }

  @doc "Starts a server, and returns when it answers."
  @spec start!() :: t
  def start! do
    # Since 1.15 Mix removes applications of the system from the path that a project does not name.
    Code.append_path(hd(Path.wildcard("#{:code.lib_dir()}/p1_pgsql-*/ebin")))

    directory =
      Path.join(
        System.tmp_dir!(),
        "postgres_#{System.unique_integer([:positive])}_#{System.pid()}"
      )

    data = Path.join(directory, "data")
    File.mkdir_p!(data)
    if root?(), do: {"", 0} = System.cmd("chown", ["-R", @user, directory])

    {_output, 0} =
      run("initdb", ["-D", data, "-U", @user, "-A", "trust", "-N", "-E", "UTF8", "--no-locale"])

    port = Enum.random(@ports)

    [program | arguments] =
      as_user([
        bin("postgres"),
        "-D",
        data,
        "-p",
        "#{port}",
        "-k",
        directory,
        "-F",
        "-c",
        "listen_addresses=127.0.0.1"
      ])

    {:ok, running} = Program.start_link(directory, program, arguments)
    # A connection that a server has closed is reported by each of its processes.
    :logger.add_primary_filter(__MODULE__, {&quiet/2, nil})
    idle = :ets.new(__MODULE__, [:public])
    server = %__MODULE__{program: running, directory: directory, port: port, idle: idle}
    eventually(fn -> match?({:ok, _}, query(server, "SELECT 1", [])) end)
    server
  end

  @doc "Starts a server again that was killed. Its file of the process that runs is still there."
  @spec start_again(t) :: :ok
  def start_again(%__MODULE__{program: program, directory: directory}) do
    File.rm(Path.join(directory, "data/postmaster.pid"))
    Program.start(program)
  end

  defp connect(%__MODULE__{port: port}) do
    options = [
      host: ~c"127.0.0.1",
      port: port,
      user: ~c"postgres",
      database: ~c"postgres",
      as_binary: true
    ]

    # Only tests have the application, and not as a dependency.
    apply(:pgsql, :connect, [options])
  end

  @doc "Returns a query function as that of `Ecto.Repo`, over a pool of connections."
  @spec query(t) :: (String.t(), list -> {:ok, %{rows: [list]}} | {:error, term})
  def query(server), do: &query(server, &1, &2)

  # With the simple protocol, since p1_pgsql waits for ever after an error in the extended one.
  defp query(server, statement, parameters) do
    with {:ok, connection} <- idle(server) do
      answer = apply(:pgsql, :squery, [connection, filled(statement, parameters), @answer_ms])
      :ets.insert(server.idle, {connection})

      case answer do
        {:ok, [error: error]} -> {:error, error[:message]}
        {:ok, [{_command, fields, rows}]} -> {:ok, %{rows: Enum.map(rows, &row(&1, fields))}}
        {:ok, [_command]} -> {:ok, %{rows: []}}
      end
    end
  catch
    :exit, reason -> {:error, reason}
  end

  # A connection that no other process uses now.
  defp idle(%{idle: idle} = server) do
    with connection when is_pid(connection) <- :ets.first(idle),
         [{^connection}] <- :ets.take(idle, connection),
         true <- Process.alive?(connection) do
      {:ok, connection}
    else
      :"$end_of_table" -> connect(server)
      _taken_or_closed -> idle(server)
    end
  end

  defp filled(statement, parameters) do
    Regex.replace(~r/\$(\d+)/, statement, fn _all, number ->
      parameters |> Enum.at(String.to_integer(number) - 1) |> literal()
    end)
  end

  defp literal(nil), do: "NULL"
  defp literal(number) when is_integer(number), do: Integer.to_string(number)
  defp literal(text) when is_binary(text), do: "'" <> String.replace(text, "'", "''") <> "'"
  defp literal(list), do: "'{" <> Enum.map_join(list, ",", &item/1) <> "}'"

  defp item(nil), do: "NULL"
  defp item(number) when is_integer(number), do: Integer.to_string(number)
  defp item(text), do: ~s("#{text}")

  defp row(row, fields), do: Enum.zip_with(row, fields, &value/2)

  # A number of the type bigint.
  defp value(:null, _field), do: nil
  defp value(text, field) when elem(field, 3) == 20, do: String.to_integer(text)
  defp value(text, _field), do: text

  defp run(program, arguments) do
    [program | arguments] = as_user([bin(program) | arguments])
    System.cmd(program, arguments, stderr_to_stdout: true)
  end

  defp as_user(command) do
    if root?(),
      do: [
        System.find_executable("setpriv"),
        "--reuid=#{@user}",
        "--regid=#{@user}",
        "--clear-groups" | command
      ],
      else: command
  end

  defp root?, do: match?({"0\n", 0}, System.cmd("id", ["-u"]))

  defp quiet(%{msg: {:report, %{label: {:gen_server, :terminate}, reason: reason}}}, _nil)
       when reason in [:tcp_close, {:socket, :closed}],
       do: :stop

  defp quiet(_event, _nil), do: :ignore

  # Debian keeps the programs of the server outside of the path.
  defp bin(program) do
    found =
      System.find_executable(program) ||
        List.last(Enum.sort(Path.wildcard("/usr/lib/postgresql/*/bin/#{program}")))

    found || raise "#{program} is missing: run bin/setup"
  end
end
