defmodule RateLimiter.Support.Nodes do
  @moduledoc false
  # Real BEAM nodes: operating-system processes that end with the process that started them. Not distributed: they are
  # spoken to through their standard input and output, so that no name and no port is taken.

  @boot_ms 180_000

  @type t :: pid

  @doc "Starts nodes at once, with this application running in each."
  @spec start!(pos_integer) :: [t]
  def start!(count) do
    nodes = for number <- 1..count, do: {number, boot!(number)}

    for {number, node} <- nodes do
      receive do
        {{__MODULE__, ^number}, {:started, _name, ^node}} -> :ok
      after
        @boot_ms -> raise "a node did not boot within #{div(@boot_ms, 1_000)} s"
      end

      {:ok, _started} = call(node, :application, :ensure_all_started, [:rate_limiter], @boot_ms)
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

  defp boot!(number) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    tag = {__MODULE__, number}

    {:ok, node} =
      :peer.start_link(%{connection: :standard_io, args: paths, wait_boot: {self(), tag}})

    node
  end
end
