defmodule RateLimiter.VSM.Loop do
  @moduledoc false
  # The control loop of one subsystem as a value. A step is `Observe.look/1`, `Decide.step/3` and `Observe.reflect/2`.
  # The instance's table keeps the value between steps; the controller only schedules.

  alias RateLimiter.Adaptive.Work
  alias RateLimiter.VSM.{Config, Decide, Gate, Table}

  @enforce_keys [:subsystem, :config, :law, :at_ms, :counts]
  defstruct [
    :subsystem,
    :config,
    # The law's module and options, and its state.
    :law,
    :state,
    # Time and counts of the last look.
    :at_ms,
    :counts,
    # The fast quarter of the work, in milliseconds, when nothing hurts.
    :calm_ms,
    # Since when pain lasts, and when it was last escalated.
    :suffering_ms,
    :escalated_ms,
    # The law can do no more about the pain.
    hopeless: false,
    usual_demand: 0.0,
    # Finished work that is not yet enough for a verdict, and the last verdict: {well?, at_ms}.
    unjudged: %Work{},
    well: {false, 0},
    contained: [],
    measure_failures: 0,
    measure_reported_ms: nil,
    # How the nodes decided the last step: :agreed, :alone, or nil without an agreement.
    agreement: nil,
    epoch: nil
  ]

  @type t :: %__MODULE__{}

  @doc "Returns the loop of the previous controller, or a new one that starts from the scale in force."
  @spec resume(Table.t(), atom) :: t
  def resume(table, name) do
    # Taken, not read: a state that makes the next step crash must not be tried twice.
    case Table.take(table, {:loop, name}) do
      %__MODULE__{} = loop -> loop
      nil -> new(table, name)
    end
  end

  @doc "Saves the loop for the next controller."
  @spec keep(t) :: t
  def keep(%__MODULE__{subsystem: %{table: table, name: name}} = loop) do
    Table.put(table, {:loop, name}, loop)
    loop
  end

  defp new(table, name) do
    subsystem = Table.subsystem(table, name)
    config = Table.config(table, name)

    Decide.start(%__MODULE__{
      subsystem: subsystem,
      config: config,
      law: Config.law_options(config),
      at_ms: Table.now_ms(table),
      counts: Gate.counts(subsystem.gate)
    })
  end
end
