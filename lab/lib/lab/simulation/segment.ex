defmodule Lab.Simulation.Segment do
  @moduledoc false
  # A stretch of a scenario in which nothing changes from outside.
  #
  #   until_ms   when it ends
  #   demand     calls that arrive in a second, on average
  #   speed      how fast a worker works: 1.0 is as fast as its size says, 0.0 is a stall
  #   workers    how many of the size's workers are there, as a share
  #   extra_ms   what is added to each answer on its way back, after the worker is free again
  #   check_ms   how long a call waits for the store before it asks to be let in

  @enforce_keys [:until_ms, :demand]
  defstruct until_ms: 0, demand: 0.0, speed: 1.0, workers: 1.0, extra_ms: 0.0, check_ms: 0.0

  @type t :: %__MODULE__{
          until_ms: number,
          demand: number,
          speed: number,
          workers: number,
          extra_ms: number,
          check_ms: number
        }
end
