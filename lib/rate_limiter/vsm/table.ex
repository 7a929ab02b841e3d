defmodule RateLimiter.VSM.Table do
  @moduledoc false
  # The ETS table of an instance's subsystems: rows by key, the configuration, and the clock.
  #
  # The table belongs to the instance's supervisor. Limiters, gates and scales live as long as the table, independent
  # of the processes that write them. State that a controller needs after a crash is a row here.

  alias RateLimiter.Core.Errors
  alias RateLimiter.Store
  alias RateLimiter.VSM.Subsystem

  @type t :: :ets.tid()

  @spec get(t, term, default) :: term | default when default: term
  def get(table, key, default \\ nil) do
    case :ets.lookup(table, key) do
      [{^key, value}] -> value
      [] -> default
    end
  rescue
    # The instance has stopped.
    ArgumentError -> default
  end

  @spec put(t, term, term) :: :ok
  def put(table, key, value) do
    :ets.insert(table, {key, value})
    :ok
  end

  @doc "Removes a row and returns its value."
  @spec take(t, term) :: term | nil
  def take(table, key) do
    case :ets.take(table, key) do
      [{^key, value}] -> value
      [] -> nil
    end
  end

  @doc "Adds to a counter and returns its new value."
  @spec count(t, term, integer) :: integer
  def count(table, key, increment \\ 1) do
    :ets.update_counter(table, key, increment, {key, 0})
  rescue
    ArgumentError -> raise Errors.ended()
  end

  @doc "Returns the configuration of all subsystems. Raises `ArgumentError` after the instance has stopped."
  @spec config(t) :: RateLimiter.VSM.Config.t()
  def config(table), do: get(table, :config) || raise(Errors.ended())

  @doc "Returns the configuration of one subsystem."
  @spec config(t, atom) :: RateLimiter.VSM.Config.subsystem()
  def config(table, name), do: Keyword.fetch!(config(table).subsystems, name)

  @spec subsystem(t, term) :: Subsystem.t() | nil
  def subsystem(table, name), do: get(table, {:subsystem, name})

  @doc "Returns the time of the table's clock in milliseconds."
  @spec now_ms(t) :: integer
  def now_ms(table) do
    case clock(table) do
      :monotonic -> System.monotonic_time(:millisecond)
      clock -> div(Store.manual_clock_now(clock), 1_000_000)
    end
  end

  @doc "Returns the time of the table's clock as a date."
  @spec date(t) :: DateTime.t()
  def date(table) do
    case clock(table) do
      :monotonic -> DateTime.utc_now()
      clock -> clock |> Store.manual_clock_now() |> DateTime.from_unix!(:nanosecond)
    end
  end

  @doc "Returns whether the clock runs by itself. A test moves its clock by hand."
  @spec real_time?(t) :: boolean
  def real_time?(table), do: get(table, :clock) == :monotonic

  defp clock(table), do: get(table, :clock) || raise(Errors.ended())
end
