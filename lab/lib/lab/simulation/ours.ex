defmodule Lab.Simulation.Ours do
  @moduledoc false
  # The control law of this library, called as the controller process of a subsystem calls it.
  use Lab.Simulation.Controller

  alias RateLimiter.Adaptive.{Observation, Standard, Work}

  @tick_ms 1_000.0
  @jitter 0.1

  @enforce_keys [:law, :limit, :rand]
  defstruct [
    :law,
    :limit,
    :rand,
    scale: 1.0,
    guard: :infinity,
    # The number of cuts: a call with this tag began after the last cut.
    cuts: 0,
    fresh: %Work{},
    earlier: %Work{},
    asked: 0,
    denied: 0,
    guarded: 0,
    last: 0.0,
    next: @tick_ms,
    decisions: []
  ]

  @impl true
  def new(setting) do
    options = if setting.target_ms, do: [target: setting.target_ms], else: []

    %__MODULE__{
      law: Standard.new(options),
      limit: setting.limit,
      rand: :rand.seed_s(:exsss, setting.seed + 6)
    }
  end

  @impl true
  def admit(%{guard: guard} = ours, _now, in_flight) when in_flight >= guard,
    do: {false, nil, %{ours | asked: ours.asked + 1, guarded: ours.guarded + 1}}

  def admit(ours, _now, _in_flight), do: {true, ours.cuts, %{ours | asked: ours.asked + 1}}

  @impl true
  def limited(ours), do: %{ours | denied: ours.denied + 1}

  @impl true
  def finished(%{cuts: cuts} = ours, %{tag: cuts} = finished),
    do: %{ours | fresh: Work.record(ours.fresh, finished.outcome, us(finished))}

  def finished(ours, finished),
    do: %{ours | earlier: Work.record(ours.earlier, finished.outcome, us(finished))}

  @impl true
  def next_tick(ours), do: ours.next

  @impl true
  def tick(ours, now, seen) do
    observation = %Observation{
      limit: ours.limit,
      elapsed_ms: now - ours.last,
      fresh: ours.fresh,
      earlier: ours.earlier,
      asked: ours.asked,
      denied: ours.denied,
      guarded: ours.guarded,
      in_flight: seen.in_flight,
      pain: seen.pain
    }

    {law, decision} = Standard.step(ours.law, observation, trunc(now))
    {uniform, rand} = :rand.uniform_s(ours.rand)

    %{
      ours
      | law: law,
        scale: decision.scale,
        guard: decision.guard,
        cuts: if(decision.action == :cut, do: ours.cuts + 1, else: ours.cuts),
        decisions: add(ours.decisions, now, decision),
        fresh: %Work{},
        earlier: %Work{},
        asked: 0,
        denied: 0,
        guarded: 0,
        last: now,
        next: now + @tick_ms * (1 + @jitter * (2 * uniform - 1)),
        rand: rand
    }
  end

  @impl true
  def scale(ours), do: ours.scale

  @impl true
  def level(ours), do: ours.limit * ours.scale

  @impl true
  def decisions(ours), do: ours.decisions

  defp add(decisions, now, %{news?: true} = decision), do: [{now, decision} | decisions]
  defp add(decisions, _now, _unchanged), do: decisions

  defp us(finished), do: round(finished.duration_ms * 1_000)
end
