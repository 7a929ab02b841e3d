defmodule RateLimiter.Health do
  @moduledoc """
  The sensors of this BEAM: how it is, whatever the work says.

  What they tell moves no limit. It opens and closes the *gate* of this node: a node that is sick lets in less of what
  arrives at it, the least important first, and does not drag down the others. A call that the gate sheds is answered at
  once, and takes nothing from any limit.

  Each reading becomes a stress through three thresholds: 0.0 at `:ok`, 0.5 at `:warn`, 1.0 at `:crit`, and in a straight line
  between. The greatest stress counts, and is named.

  | sensor | reads | ok / warn / crit |
  | --- | --- | --- |
  | `:schedulers` | the share of time in which the normal schedulers are busy | 0.80 / 0.90 / 0.98 |
  | `:run_queue` | processes that wait to run, for each scheduler | 1 / 4 / 8 |
  | `:timer` | how late a timer of 10 ms is, in milliseconds: the 99th of 100 | 5 / 20 / 100 |
  | `:memory` | memory of the runtime, as a share of `:limit` bytes | 0.70 / 0.80 / 0.92 |
  | `:mailboxes` | the longest message queue of the processes that `:watch` names | 100 / 1,000 / 10,000 |
  | `:store` | where the store is Redis: the share of what it was asked that it did not do, and of servers that are away | 0.01 / 0.05 / 0.25 |

  The store moves no gate. Calls that it does not count are counted by this node (`:on_outage`); how much is allowed does
  not depend on it. That it came to that, and that it is over, `RateLimiter.VSM.explain/1` says.

  A sensor that fails is no opinion: it counts for nothing, and `report/1` and `RateLimiter.VSM.explain/1` say that it failed.

  ## Options

  They stand in the option `:sensors` of `vsm:`, by sensor. `false` leaves one out.

      vsm: [
        sensors: [
          memory: [limit: 2_000_000_000, warn: 0.85],
          mailboxes: [watch: [MyApp.Writer]],
          timer: false,
          pool: [measure: fn -> MyApp.Pool.waiting() end, ok: 10, warn: 50, crit: 200]
        ]
      ]

    * `:ok`, `:warn`, `:crit` - the thresholds; they must rise.
    * `:limit` - of `:memory`: bytes. Default: what the control group of the container allows, or else what the machine has.
    * `:watch` - of `:mailboxes`: registered names or pids. Without one, there is no such sensor.
    * `:measure` - makes a sensor of your own under any name: a function that returns a number. It has half a second,
      in a process of its own.

  A sensor is a module with this behaviour where a function is too little: `pool: [module: MyApp.PoolSensor, ok: 1, ...]`.
  """

  alias RateLimiter.Instance
  alias RateLimiter.VSM.{Table, Tree}

  @typedoc "What a sensor keeps from one reading to the next."
  @type state :: term

  @doc """
  What to begin with, asked at the first reading; gets the options of the sensor, and as `:instance` whose it is. Where it
  fails it is asked again at the next one.
  """
  @callback init(options :: keyword) :: state

  @doc "One reading."
  @callback measure(state) :: {:ok, number, state} | {:no_opinion, reason :: String.t(), state}

  @doc """
  What the sensors of an instance last said.

  Returns a map from each sensor to its `:value`, its `:stress` and `:no_opinion`: the reason, where it has none. It is empty
  where no sensor has been read yet.

      iex> RateLimiter.Health.report()
      %{}

  Raises `ArgumentError` where no such instance runs, or it has no subsystems.
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
