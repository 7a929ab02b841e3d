defmodule Lab.Simulation.Second do
  @moduledoc false
  # The counts of one second of a simulation.
  #
  #   oracle     calls that could succeed: the smaller of demand and capacity
  #   asked      calls of clients, with retries
  #   denied     by the limit or by the controller
  #   good       answered in time
  #   late       timed out
  #   rejected   by the full queue of the resource
  #   level      the value that the controller adapts, at the end of the second
  #   scale, in_flight, waiting   at the end of the second

  defstruct at: 0,
            oracle: 0.0,
            demand: 0.0,
            capacity: 0.0,
            asked: 0,
            denied: 0,
            good: 0,
            late: 0,
            rejected: 0,
            level: nil,
            scale: 1.0,
            in_flight: 0,
            waiting: 0

  @type t :: %__MODULE__{}
end
