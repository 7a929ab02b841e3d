defmodule RateLimiter.VSM.Decide do
  @moduledoc false
  # How a control loop calls its law. A law that raises, throws or exits loses its state; the scale stays, and the law
  # starts again from there.

  alias RateLimiter.Adaptive.{Decision, Fixed, Observation}
  alias RateLimiter.Core.Options
  alias RateLimiter.VSM.{Apply, Explain, Loop, Subsystem, Table}

  @doc "Takes a step of the law and applies its decision."
  @spec step(Loop.t(), Observation.t(), integer) :: Loop.t()
  def step(loop, observation, now) do
    case ask(loop, observation, now) do
      {:ok, state, decision} -> Apply.decision(%{loop | state: state}, decision)
      {:failed, loop} -> loop
    end
  end

  @doc "Returns the law's next state and decision, and applies nothing."
  @spec ask(Loop.t(), Observation.t(), integer) :: {:ok, term, Decision.t()} | {:failed, Loop.t()}
  def ask(%{law: {law, _options}} = loop, observation, now) do
    {state, %Decision{} = decision} = law.step(loop.state, observation, now)
    {:ok, state, %{decision | scale: within(loop.config, decision.scale)}}
  rescue
    error -> {:failed, failed(loop, raised(error))}
  catch
    kind, reason -> {:failed, failed(loop, ended(kind, reason))}
  end

  @doc "Starts the law. One that has decided before gets the scale in force; a new one may choose its own."
  @spec start(Loop.t()) :: Loop.t()
  def start(%{subsystem: subsystem} = loop) do
    if Table.get(subsystem.table, {:decision, subsystem.name}),
      do: start(loop, scale: Subsystem.scale(subsystem)),
      else: start(loop, [])
  end

  @doc "Starts the law with these options in addition to its own."
  @spec start(Loop.t(), keyword) :: Loop.t()
  # If this fails, too, the last scale is kept: a constant limit is safer than none.
  def start(%{law: {law, options}} = loop, more) do
    %{loop | state: law.new(Keyword.merge(options, more))}
  rescue
    error -> stand_still(loop, raised(error))
  catch
    kind, reason -> stand_still(loop, ended(kind, reason))
  end

  @doc "Adjusts the law's state to observations of `factor` times as many nodes."
  @spec resize(Loop.t(), float) :: Loop.t()
  def resize(loop, factor) when factor == 1, do: loop

  def resize(%{law: {law, _options}} = loop, factor) do
    if function_exported?(law, :resize, 2),
      do: %{loop | state: law.resize(loop.state, factor)},
      else: loop
  rescue
    error -> failed(loop, raised(error))
  catch
    kind, reason -> failed(loop, ended(kind, reason))
  end

  # The floor and the ceiling hold for every law.
  defp within(config, scale) when is_number(scale),
    do: scale |> max(config.floor) |> min(config.ceiling)

  defp within(_config, other),
    do: raise(ArgumentError, "expected a number as the scale, got: #{Options.show(other)}")

  defp failed(loop, how) do
    Explain.law_failed(loop, how)
    start(loop)
  end

  defp stand_still(loop, how) do
    Explain.law_failed(loop, how)
    scale = Subsystem.scale(loop.subsystem)
    %{loop | law: {Fixed, scale: scale}, state: Fixed.new(scale: scale)}
  end

  defp raised(error) do
    why = error |> Exception.message() |> String.slice(0, 200)
    "raised #{inspect(error.__struct__)} (#{why})"
  end

  defp ended(:exit, reason), do: "exited with #{Options.show(reason)}"
  defp ended(:throw, value), do: "threw #{Options.show(value)}"
end
