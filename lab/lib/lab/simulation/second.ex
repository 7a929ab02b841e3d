defmodule Lab.Simulation.Second do
  @moduledoc false
  # What happened in one second of a simulation.
  #
  #   oracle     calls that could have succeeded: the smaller of demand and capacity
  #   asked      calls that clients made, tries again included
  #   denied     by the limit or by the controller
  #   good       answered in time
  #   late       given up by their client
  #   rejected   turned away by the resource's full queue
  #   level      what the controller adapts, at the end of the second
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
