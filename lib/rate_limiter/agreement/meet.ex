defmodule RateLimiter.Agreement.Meet do
  @moduledoc false
  # The arguments of meet.lua: what a node contributes to a window. `RateLimiter.Agreement.View` reads the reply.

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Agreement.{Counters, Heartbeat}

  @enforce_keys [:interval, :keep_ms, :node, :heartbeat, :epoch, :observation]
  defstruct [
    :interval,
    :keep_ms,
    :node,
    :heartbeat,
    :epoch,
    :observation,
    urgent?: false,
    # For how many windows the node may stay away.
    away: 0,
    # Set by tests. 0 is the server's own time.
    now_ms: 0
  ]

  @type t :: %__MODULE__{
          interval: pos_integer,
          keep_ms: pos_integer,
          node: String.t(),
          heartbeat: Heartbeat.t(),
          epoch: non_neg_integer,
          observation: Observation.t(),
          urgent?: boolean,
          away: 0..10,
          now_ms: non_neg_integer
        }

  @doc "Returns the arguments in the order of the script."
  @spec to_argv(t) :: [String.t()]
  def to_argv(%__MODULE__{observation: observation} = meet) do
    counts = for {name, count} <- Counters.new(observation), arg <- [name, "#{count}"], do: arg

    [
      "#{meet.now_ms}",
      "#{meet.interval}",
      "#{meet.keep_ms}",
      meet.node,
      Heartbeat.write(meet.heartbeat),
      "#{meet.epoch}",
      if(meet.urgent?, do: "urgent", else: ""),
      "#{observation.elapsed_ms}",
      "#{meet.away}" | counts
    ]
  end
end
