defmodule RateLimiter.Support.Subsystems do
  @moduledoc false
  # Subsystems without processes, on a clock that the test moves: the test takes each step itself.

  alias RateLimiter.{Store, VSM}
  alias RateLimiter.VSM.{Table, Tree}

  @doc "Creates subsystems, which belong to the test. Returns their table."
  def new(subsystems, options \\ []) do
    config = VSM.Config.new!([subsystems: subsystems] ++ options, [:vsm])
    Tree.new(config, {__MODULE__, self()}, Store.manual_clock(1_000_000_000))
  end

  @doc "Moves the clock forward."
  def advance(table, ms) do
    _now = Store.manual_clock_advance(Table.get(table, :clock), ms * 1_000_000)
    :ok
  end

  @doc "Lets calls with these outcomes arrive and finish after so many milliseconds."
  def work(table, name, outcomes, ms) do
    subsystem = Table.subsystem(table, name)

    permits =
      for outcome <- outcomes do
        {:ok, permit} = VSM.Gate.enter(subsystem, "caller", 0)
        {permit, outcome}
      end

    advance(table, ms)
    for {permit, outcome} <- permits, do: true = VSM.Gate.finish(permit, outcome)
    :ok
  end
end
