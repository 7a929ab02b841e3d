defmodule Lab.Simulation.Size do
  @moduledoc false
  # The size of a simulated resource: its workers, their calls per second, and how long clients wait.

  @enforce_keys [:name, :workers, :capacity, :deadline_ms]
  defstruct [:name, :workers, :capacity, :deadline_ms]

  @type t :: %__MODULE__{
          name: String.t(),
          workers: pos_integer,
          capacity: number,
          deadline_ms: number
        }

  # The first is the nominal one. At the others the defaults of other controllers fail.
  @listed [{10, 100}, {1, 20}, {50, 100}, {100, 1_000}]

  # Not used while the law was designed.
  @held_out [{4, 400}, {2, 8}, {20, 10}, {30, 300}]

  @doc "Returns the sizes of the table, the nominal one first."
  @spec listed() :: [t]
  def listed, do: Enum.map(@listed, &new/1)

  @doc "Returns the sizes that were not used for tuning."
  @spec held_out() :: [t]
  def held_out, do: Enum.map(@held_out, &new/1)

  @doc "Returns ten workers with 100 calls per second."
  @spec nominal() :: t
  def nominal, do: hd(listed())

  @doc "Returns the size of this name, such as `10w/100`, or `nil`."
  @spec find(String.t()) :: t | nil
  def find(name), do: Enum.find(listed() ++ held_out(), &(&1.name == name))

  @doc "Returns the mean work of a call, in milliseconds."
  @spec mean_ms(t) :: float
  def mean_ms(%__MODULE__{workers: workers, capacity: capacity}), do: workers * 1_000 / capacity

  @doc "Returns a size. Its clients wait a second, or five times the mean work if that is longer."
  @spec new({pos_integer, number}) :: t
  def new({workers, capacity}) do
    %__MODULE__{
      name: "#{workers}w/#{capacity}",
      workers: workers,
      capacity: capacity,
      deadline_ms: max(1_000.0, 5 * workers * 1_000 / capacity)
    }
  end
end
