defmodule Lab.Simulation.Segment do
  @moduledoc false
  # A part of a scenario with constant conditions.
  #
  #   until_ms   its end
  #   demand     calls per second, on average
  #   speed      of a worker: 1.0 is the speed of its size, 0.0 is a stall
  #   workers    the share of the workers that run
  #   extra_ms   the delay of each answer after its worker is free again
  #   check_ms   the time that a call waits for the store before it is admitted or denied

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
