defmodule RateLimiter.Support.Nodes do
  @moduledoc false
  # Real BEAM nodes: operating-system processes that end with the process that started them. They are spoken to through
  # their standard input and output, so that no name and no port is taken, unless they are asked for by name.

  import RateLimiter.Support.Eventually

  alias RateLimiter.Support.Program

  @boot_ms 180_000

  @type t :: pid

  @doc "Starts nodes at once, with this application running in each."
  @spec start!(pos_integer) :: [t]
  def start!(count), do: 1..count |> Enum.map(&{&1, boot!(&1, [], [])}) |> started!()

  @doc """
  Starts nodes under names such as `:"shop@127.0.0.1"` that can connect to each other, by an epmd of their own. One of the
  name `nil` is not distributed yet. The test's node stays without a name.
  """
  @spec start_named!([node | nil], cookie :: String.t()) :: [t]
  def start_named!(names, cookie) do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :ok = :gen_tcp.close(socket)
    directory = Path.join(System.tmp_dir!(), "epmd_#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    epmd = ["-port", "#{port}", "-address", "127.0.0.1"]
    {:ok, _program} = Program.start_link(directory, System.find_executable("epmd"), epmd)
    # A node that finds no epmd would start one that stays.
    eventually(fn -> match?({:ok, _}, :gen_tcp.connect({127, 0, 0, 1}, port, [])) end)
    environment = [{~c"ERL_EPMD_PORT", ~c"#{port}"}]

    for {name, number} <- Enum.with_index(names, 1) do
      arguments = if name, do: ["-name", "#{name}", "-setcookie", cookie], else: []
      {number, boot!(number, Enum.map(arguments, &to_charlist/1), environment)}
    end
    |> started!()
  end

  defp started!(nodes) do
    for {number, node} <- nodes do
      receive do
        {{__MODULE__, ^number}, {:started, _name, ^node}} -> :ok
      after
        @boot_ms -> raise "a node did not boot within #{div(@boot_ms, 1_000)} s"
      end

      {:ok, _started} = call(node, :application, :ensure_all_started, [:rate_limiter], @boot_ms)
      # What it logs is printed here, also where a test breaks its Redis on purpose.
      :ok = call(node, RateLimiter.Logger, :detach, [])
      node
    end
  end

  @doc "Calls a function in a node, and returns what it returns."
  @spec call(t, module, atom, [term], timeout) :: term
  def call(node, module, function, arguments, timeout \\ 60_000),
    do: :peer.call(node, module, function, arguments, timeout)

  @doc "Ends a node as `kill -9` does: nothing in it has the time to say goodbye."
  @spec kill(t) :: :ok
  def kill(node) do
    # Its end is not ours.
    Process.unlink(node)
    {_output, 0} = System.cmd("kill", ["-KILL", call(node, System, :pid, [])])
    :ok
  end

  defp boot!(number, arguments, environment) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

    {:ok, node} =
      :peer.start_link(%{
        connection: :standard_io,
        args: arguments ++ paths,
        env: environment,
        wait_boot: {self(), {__MODULE__, number}}
      })

    node
  end
end
