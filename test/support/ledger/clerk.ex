defmodule RateLimiter.Support.Ledger.Clerk do
  @moduledoc false
  # One node's part of what must outlast a fault: usage that was reset or refunded before it, and calls with request ids
  # during it. All functions run in the node, beside the workers of `RateLimiter.Support.Ledger.Hammer`.

  alias RateLimiter.Support.Redis

  @used 10
  @pause_ms 10

  @doc "The limiter's options: its windows hold all of it for a day."
  @spec limiter() :: keyword
  def limiter do
    window = [algorithm: :fixed_window, aligned: false, limit: 1_000_000, per: :day]
    [windows: [day: window], events: :none]
  end

  @typedoc "What Redis has of each key."
  @type found :: %{reset: integer, refunded: integer, named: integer}

  @doc "Uses some of the keys that are reset and refunded later."
  @spec use() :: :ok
  def use do
    for id <- [:reset, :refunded],
        do: {:ok, _usage} = RateLimiter.check_and_track(:kept, id, :day, cost: @used)

    :ok
  end

  @doc "Resets one of the keys, and gives back some of the other. Returns what Redis has then."
  @spec lower(found) :: found
  def lower(before) do
    Redis.eventually(fn -> RateLimiter.reset(:kept, :reset) == :ok end)

    Redis.eventually(fn ->
      RateLimiter.refund(:kept, :refunded, :day, cost: @used)
      look().refunded < before.refunded
    end)

    look()
  end

  @doc "Calls under one name after the other, the same on each node, until it is told to stop."
  @spec call() :: :ok
  def call do
    spawn(fn ->
      Process.register(self(), __MODULE__)
      call(1, MapSet.new())
    end)

    :ok
  end

  @doc "Ends the calls. Returns the names of those that were admitted."
  @spec stop() :: MapSet.t()
  def stop do
    send(__MODULE__, {:stop, self()})
    receive do: ({:admitted, names} -> names)
  end

  @doc "Returns what Redis has of each key. With it the node reports and restores what it knows of them."
  @spec look() :: found
  def look, do: Map.new([:reset, :refunded, :named], &{&1, used(&1)})

  defp used(id) do
    case RateLimiter.peek(:kept, id, :day, cost: 0) do
      {:ok, %{source: :redis, current: used}} ->
        used

      # A busy machine was late.
      _alone ->
        Process.sleep(@pause_ms)
        used(id)
    end
  end

  defp call(number, names) do
    receive do
      {:stop, from} -> send(from, {:admitted, names})
    after
      @pause_ms ->
        name = "name #{number}"
        call(number + 1, if(admitted?(name), do: MapSet.put(names, name), else: names))
    end
  end

  defp admitted?(name) do
    match?({:ok, _usage}, RateLimiter.check_and_track(:kept, :named, :day, request_id: name))
  rescue
    # The instance is restarted.
    ArgumentError -> false
  end
end
