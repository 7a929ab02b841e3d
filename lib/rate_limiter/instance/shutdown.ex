defmodule RateLimiter.Instance.Shutdown do
  @moduledoc false
  # What an instance does first when it stops in order. It is the last child, so it stops before all others: Redis is still
  # connected, and the node has not signed off yet.
  #
  # Nobody waits longer than the deadline. A server that is away must not hold up a deployment.

  use GenServer

  alias RateLimiter.{Instance, Store, Telemetry}
  alias RateLimiter.Core.Options

  @stopping {:shutdown, :stopping}
  @step_ms 10
  # Calls that were sent are answered within the deadline of a call, which is shorter.
  @in_flight_ms 500
  # One slot of a sweep: what matters is the report of the backlog that it starts.
  @slots 1

  @schema [
    admit: [
      type: :boolean,
      default: true,
      doc:
        "whether calls are admitted until the end. With `false` they return `{:error, :unavailable, usage}` from the moment " <>
          "at which the instance begins to stop."
    ],
    within: [
      type: {:or, [:milliseconds, {:in, [0]}]},
      default: 2_000,
      doc:
        "the most milliseconds that are spent to report to Redis what this node has admitted in an outage."
    ]
  ]

  @type t :: %{admit: boolean, within: non_neg_integer}

  @doc "Returns the schema of the options."
  @spec schema() :: Options.schema()
  def schema, do: @schema

  @doc "Validates the options."
  @spec new!(term, Options.path()) :: t
  def new!(options, path), do: Options.validate!(options, @schema, path)

  @doc false
  @spec child_spec({Instance.t(), t}) :: Supervisor.child_spec()
  def child_spec({_instance, %{within: within}} = argument) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [argument]},
      shutdown: within + @in_flight_ms + 5_000
    }
  end

  @doc "Returns whether an instance has anything to do before it stops."
  @spec needed?(Instance.t(), t) :: boolean
  def needed?(%Instance{store: store}, %{admit: admit}), do: store != :local or not admit

  @doc "Returns whether the instance has begun to stop."
  @spec stopping?(Instance.t()) :: boolean
  def stopping?(%Instance{table: table}) do
    :ets.member(table, @stopping)
  rescue
    # It has ended.
    ArgumentError -> true
  end

  @doc false
  @spec start_link({Instance.t(), t}) :: GenServer.on_start()
  def start_link({%Instance{}, %{}} = argument), do: GenServer.start_link(__MODULE__, argument)

  @impl true
  def init(state) do
    Process.flag(:trap_exit, true)
    {:ok, state}
  end

  @impl true
  def terminate(:shutdown, {instance, options}) do
    began = now_ms()
    :ets.insert(instance.table, {@stopping, true})
    unless options.admit, do: stop_admitting(instance)
    before = count(instance, :owing)
    settle(instance, began + options.within)
    in_flight(instance, now_ms() + @in_flight_ms)
    Telemetry.shutdown(instance.name, {before, count(instance, :owing)}, now_ms() - began)
  end

  def terminate(_reason, _state), do: :ok

  defp stop_admitting(instance) do
    for {limiter, handle, _config} <- Instance.all(instance),
        do: :ok = Store.stop_admitting(limiter, handle)
  end

  # A sweep reports some ids of the backlog, and each reply the next ones.
  defp settle(instance, deadline) do
    if count(instance, :owing) > 0 and now_ms() < deadline do
      for {_limiter, handle, _config} <- Instance.all(instance), do: Store.sweep(handle, @slots)
      Process.sleep(@step_ms)
      settle(instance, deadline)
    end
  end

  # What was reported last is counted once its reply is here. New calls must not prolong this.
  defp in_flight(instance, deadline) do
    if count(instance, :pending) > 0 and now_ms() < deadline do
      Process.sleep(@step_ms)
      in_flight(instance, deadline)
    end
  end

  defp count(instance, key) do
    counts =
      for {_limiter, handle, _config} <- Instance.all(instance),
          stats = Store.stats(handle),
          do: Map.get(stats, key, 0)

    Enum.sum(counts)
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
