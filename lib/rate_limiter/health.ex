defmodule RateLimiter.Health do
  @moduledoc """
  The sensors of this BEAM: how this node is, independent of its work.

  Sensors never change a limit. They open and close this node's *gate*: an overloaded node admits a smaller share of the
  calls that arrive at it, the least important first, and does not slow down the other nodes. A call that the gate sheds
  is answered at once and consumes nothing of any limit.

  Three thresholds turn each reading into a stress: 0.0 up to `:ok`, 0.5 at `:warn`, 1.0 from `:crit` on, and linear
  between them. The greatest stress counts, and its sensor is named in explanations.

  | sensor | reading | ok / warn / crit |
  | --- | --- | --- |
  | `:schedulers` | share of time in which the normal schedulers are busy | 0.80 / 0.90 / 0.98 |
  | `:run_queue` | processes that wait to run, per scheduler | 1 / 4 / 8 |
  | `:timer` | lateness of a timer of 10 ms, in milliseconds: the second largest of 100, as far as the schedulers are busy | 5 / 20 / 100 |
  | `:memory` | memory of the runtime, as a share of `:limit` bytes | 0.70 / 0.80 / 0.92 |
  | `:mailboxes` | longest message queue of the processes in `:watch` | 100 / 1,000 / 10,000 |
  | `:store` | with a Redis store: share of requests that Redis did not answer, or of servers that are unavailable | 0.01 / 0.05 / 0.25 |

  Other programs of the machine make timers late, too. So lateness counts only in so far as this BEAM is busy: not at all
  while its schedulers are busy for half of the time or less, and completely when they are never idle.

  The store's sensor does not change the gate. Calls that Redis does not count are counted by this node (`:on_outage`), and
  the limits stay the same. `RateLimiter.VSM.explain/1` reports when such an outage begins and ends.

  A sensor that fails has no opinion: it adds no stress, and `report/1` and `RateLimiter.VSM.explain/1` show the reason.

  ## Options

  The option `:sensors` of `vsm:` configures each sensor by name. `false` disables it.

      vsm: [
        sensors: [
          memory: [limit: 2_000_000_000, warn: 0.85],
          mailboxes: [watch: [MyApp.Writer]],
          timer: false,
          pool: [measure: fn -> MyApp.Pool.waiting() end, ok: 10, warn: 50, crit: 200]
        ]
      ]

    * `:ok`, `:warn`, `:crit` - the thresholds, in ascending order.
    * `:limit` - for `:memory`, in bytes. Default: the limit of the container's control group, or else the machine's memory.
    * `:watch` - for `:mailboxes`, a list of registered names and pids. Without it, this sensor is disabled.
    * `:measure` - for a sensor of your own, under any name: a function that returns a number. It runs in a process of
      its own, with a timeout of half a second.

  If a function is not enough, implement this behaviour: `pool: [module: MyApp.PoolSensor, ok: 1, ...]`.
  """

  alias RateLimiter.Instance
  alias RateLimiter.VSM.{Table, Tree}

  @typedoc "A sensor's state between two readings."
  @type state :: term

  @doc """
  Returns the initial state, at the first reading.

  Gets the options of the sensor, and the instance as `:instance`. If it fails, it is called again at the next reading.
  """
  @callback init(options :: keyword) :: state

  @doc "Returns a reading."
  @callback measure(state) :: {:ok, number, state} | {:no_opinion, reason :: String.t(), state}

  @doc """
  Returns the last reading of each sensor of an instance.

  The map has the `:value`, the `:stress` and `:no_opinion` of each sensor: the reason, if it has no opinion. The map is
  empty before the first reading.

      iex> RateLimiter.Health.report()
      %{}

  Raises `ArgumentError` if the instance does not run or has no subsystems.
  """
  @spec report(instance :: term) :: %{
          optional(atom) => %{
            value: number | nil,
            stress: float | nil,
            no_opinion: String.t() | nil
          }
        }
  def report(instance \\ Instance.default_name()),
    do: instance |> Tree.fetch!() |> Table.get(:sensors, %{})
end
