defmodule Lab.Simulation.Size do
  @moduledoc false
  # How large the simulated resource is: its workers, what they do in a second together, how long clients wait.

  @enforce_keys [:name, :workers, :capacity, :deadline_ms]
  defstruct [:name, :workers, :capacity, :deadline_ms]

  @type t :: %__MODULE__{
          name: String.t(),
          workers: pos_integer,
          capacity: number,
          deadline_ms: number
        }

  # The first is the nominal one. The others are where the defaults of other controllers fall apart.
  @listed [{10, 100}, {1, 20}, {50, 100}, {100, 1_000}]

  # Not looked at while the law was chosen.
  @held_out [{4, 400}, {2, 8}, {20, 10}, {30, 300}]

  @doc "The sizes of the table, the nominal one first."
  @spec listed() :: [t]
  def listed, do: Enum.map(@listed, &new/1)

  @doc "Sizes that nothing was tuned to."
  @spec held_out() :: [t]
  def held_out, do: Enum.map(@held_out, &new/1)

  @doc "Ten workers that do 100 calls a second."
  @spec nominal() :: t
  def nominal, do: hd(listed())

  @doc "A size by its name, such as `10w/100`; `nil` where none is called so."
  @spec find(String.t()) :: t | nil
  def find(name), do: Enum.find(listed() ++ held_out(), &(&1.name == name))

  @doc "What a call's work takes on average, in milliseconds."
  @spec mean_ms(t) :: float
  def mean_ms(%__MODULE__{workers: workers, capacity: capacity}), do: workers * 1_000 / capacity

  @doc "Clients wait a second, or five times the work where that is more."
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
