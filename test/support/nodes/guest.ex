defmodule RateLimiter.Support.Nodes.Guest do
  @moduledoc false
  # The work of a node. All functions are called in the node.

  alias RateLimiter.Support.Redis

  @doc "Starts an instance that outlives the call, and returns when it is connected."
  @spec serve(keyword, atom, atom) :: :ok
  def serve(instance, limiter, window) do
    caller = self()

    # The process that starts it is its parent, and that of a call ends with the call.
    pid =
      spawn(fn ->
        Process.register(self(), __MODULE__)
        {:ok, supervisor} = RateLimiter.start_link(instance)
        send(caller, {self(), :ready})
        receive do: ({:leave, from} -> send(from, {:left, Supervisor.stop(supervisor)}))
      end)

    receive do: ({^pid, :ready} -> :ok)
    Redis.ready!(limiter, window)
    :ok
  end

  @doc "How many calls of so many processes, each with so many, are admitted."
  @spec admitted(atom, atom, pos_integer, pos_integer) :: non_neg_integer
  def admitted(limiter, window, processes, calls) do
    1..processes
    |> Enum.map(fn _process ->
      Task.async(fn ->
        Enum.count(1..calls, fn _call ->
          match?({:ok, %{source: :redis}}, RateLimiter.check_and_track(limiter, :hot, window))
        end)
      end)
    end)
    |> Task.await_many(60_000)
    |> Enum.sum()
  end

  @doc "How many of so many calls are admitted, by whatever decides."
  @spec admitted_anyhow(atom, atom, pos_integer) :: non_neg_integer
  def admitted_anyhow(limiter, window, calls) do
    Enum.count(1..calls, fn _call ->
      match?({:ok, _usage}, RateLimiter.check_and_track(limiter, :other, window))
    end)
  end

  @doc "Starts an instance that outlives the call, whether Redis is there or not."
  @spec serve_alone(keyword) :: :ok
  def serve_alone(instance) do
    caller = self()

    pid =
      spawn(fn ->
        Process.register(self(), __MODULE__)
        {:ok, supervisor} = RateLimiter.start_link(instance)
        send(caller, {self(), :started})
        receive do: ({:leave, from} -> send(from, {:left, Supervisor.stop(supervisor)}))
      end)

    receive do: ({^pid, :started} -> :ok)
  end

  @doc "Serves the dashboard of this node alone, and returns its port."
  @spec dashboard() :: :inet.port_number()
  def dashboard do
    caller = self()

    spawn(fn ->
      {:ok, server} = RateLimiter.Dashboard.start_link(port: 0)
      send(caller, {:port, RateLimiter.Dashboard.port(server)})
      Process.sleep(:infinity)
    end)

    receive do: ({:port, port} -> port)
  end

  @doc "Runs a task of Mix that does not end, and returns its first line."
  @spec first_line(module, [String.t()]) :: String.t()
  def first_line(task, argv) do
    {:ok, output} = StringIO.open("")

    spawn(fn ->
      Process.group_leader(self(), output)
      task.run(argv)
    end)

    line(output)
  end

  defp line(output) do
    case output |> StringIO.contents() |> elem(1) |> String.split("\n") do
      [line, _rest] ->
        line

      _nothing ->
        Process.sleep(10)
        line(output)
    end
  end

  @doc "How many nodes this one knows of."
  @spec nodes() :: pos_integer
  def nodes, do: RateLimiter.stats().redis.nodes

  @doc "Stops the instance, in order."
  @spec leave() :: :ok
  def leave do
    send(__MODULE__, {:leave, self()})
    receive do: ({:left, :ok} -> :ok)
  end
end
