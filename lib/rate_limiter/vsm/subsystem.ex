defmodule RateLimiter.VSM.Subsystem do
  @moduledoc false
  # One subsystem as a call needs it: its limiter and gate, and cells that its controller writes and any process reads.

  alias RateLimiter.Core.Native

  @enforce_keys [:instance, :name, :limiter, :gate, :cells, :table, :events]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          instance: term,
          name: atom,
          limiter: Native.handle(),
          gate: Native.gate(),
          cells: :atomics.atomics_ref(),
          table: :ets.tid(),
          events: :all | :denials | :none
        }

  # The own law's scale and the share of the parent's capacity, in parts per million; the mean duration of work in
  # microseconds; demand, and the demand to be ready for, in thousandths of a call per second; flags.
  @cells [scale: 1, share: 2, mean_us: 3, demand: 4, need: 5, pain: 6, pleasure: 7, urgent: 8]
  @unit 1_000_000

  @doc "Returns cells for a subsystem without any observation."
  @spec new_cells() :: :atomics.atomics_ref()
  def new_cells do
    cells = :atomics.new(length(@cells), [])
    :atomics.put(cells, @cells[:scale], @unit)
    :atomics.put(cells, @cells[:share], @unit)
    cells
  end

  @doc "Returns the scale of the subsystem's own law."
  @spec scale(t) :: float
  def scale(%{cells: cells}), do: :atomics.get(cells, @cells[:scale]) / @unit

  @spec put_scale(t, float) :: :ok
  def put_scale(%{cells: cells}, scale),
    do: :atomics.put(cells, @cells[:scale], round(scale * @unit))

  @doc "Returns the scale that its part of the parent's capacity allows."
  @spec share(t) :: float
  def share(%{cells: cells}), do: :atomics.get(cells, @cells[:share]) / @unit

  @spec put_share(t, float) :: :ok
  def put_share(%{cells: cells}, share),
    do: :atomics.put(cells, @cells[:share], round(share * @unit))

  @doc "Returns the mean duration of its work; `nil` if unknown."
  @spec mean_ms(t) :: float | nil
  def mean_ms(%{cells: cells}) do
    case :atomics.get(cells, @cells[:mean_us]) do
      0 -> nil
      us -> us / 1_000
    end
  end

  @spec put_mean_ms(t, float) :: :ok
  def put_mean_ms(%{cells: cells}, ms),
    do: :atomics.put(cells, @cells[:mean_us], max(1, round(ms * 1_000)))

  @doc "Returns how many calls per second arrive."
  @spec demand(t) :: float
  def demand(%{cells: cells}), do: :atomics.get(cells, @cells[:demand]) / 1_000

  @spec put_demand(t, float) :: :ok
  def put_demand(%{cells: cells}, demand),
    do: :atomics.put(cells, @cells[:demand], round(demand * 1_000))

  @doc "Returns for how many calls per second a part of a shared capacity is reserved."
  @spec need(t) :: float
  def need(%{cells: cells}), do: :atomics.get(cells, @cells[:need]) / 1_000

  @spec put_need(t, float) :: :ok
  def put_need(%{cells: cells}, need), do: :atomics.put(cells, @cells[:need], ceil(need * 1_000))

  @doc "Raises a flag. Returns whether this call raised it."
  @spec raise_flag(t, :pain | :pleasure | :urgent) :: boolean
  def raise_flag(%{cells: cells}, flag),
    do: :atomics.compare_exchange(cells, @cells[flag], 0, 1) == :ok

  @doc "Lowers a flag. Returns whether this call lowered it."
  @spec lower_flag(t, :pain | :pleasure | :urgent) :: boolean
  def lower_flag(%{cells: cells}, flag),
    do: :atomics.compare_exchange(cells, @cells[flag], 1, 0) == :ok

  @spec flag?(t, :pain | :pleasure | :urgent) :: boolean
  def flag?(%{cells: cells}, flag), do: :atomics.get(cells, @cells[flag]) == 1
end
