defmodule Lab.Simulation.Shared do
  @moduledoc false
  # Five subsystems on one resource whose capacity falls to a quarter. One law sees all their work and scales their common
  # limit, which is divided by priority, or by one scale for all.
  use Lab.Simulation.Controller

  alias RateLimiter.Adaptive.Shares
  alias Lab.Simulation.{Bucket, Ours}

  # {name, part of the demand, priority}, and the seconds of each limit: rare calls are counted over more.
  @classes [{:s1, 0.5, 1}, {:s2, 0.2, 2}, {:s3, 0.15, 4}, {:s4, 0.1, 3}, {:s5, 0.05, 5}]
  @seconds %{s1: 1, s2: 1, s3: 1, s4: 5, s5: 10}

  @enforce_keys [:ours, :rand, :divide, :limit]
  defstruct [
    :ours,
    :rand,
    :divide,
    :limit,
    rates: %{},
    buckets: %{},
    asked: %{},
    demand: %{},
    tally: %{}
  ]

  defmodule Uniform do
    @moduledoc false
    # The same with one scale for all.
    use Lab.Simulation.Controller
    alias Lab.Simulation.Shared

    @impl true
    def new(setting), do: Shared.new(setting, :uniform)
    @impl true
    defdelegate admit(state, now, in_flight), to: Shared
    @impl true
    defdelegate finished(state, finished), to: Shared
    @impl true
    defdelegate next_tick(state), to: Shared
    @impl true
    defdelegate tick(state, now, seen), to: Shared
    @impl true
    defdelegate scale(state), to: Shared
    @impl true
    defdelegate level(state), to: Shared
  end

  @impl true
  def new(setting), do: new(setting, :priority)

  @doc "Returns the controller with shares by `:priority`, or `:uniform`."
  def new(setting, divide) do
    state = %__MODULE__{
      ours: Ours.new(setting),
      rand: :rand.seed_s(:exsss, setting.seed + 8),
      divide: divide,
      limit: setting.limit
    }

    rates = for {name, part, _} <- @classes, into: %{}, do: {name, part * setting.limit}

    %{
      state
      | rates: rates,
        buckets: Map.new(rates, fn {name, rate} -> {name, Bucket.new(rate, @seconds[name])} end)
    }
  end

  @impl true
  def admit(state, now, in_flight) do
    {uniform, rand} = :rand.uniform_s(state.rand)
    class = class(uniform, @classes)
    state = %{state | rand: rand, asked: plus(state.asked, class)}
    second = {class, trunc(now / 1_000)}

    {admitted, state} = admit_class(state, class, now, in_flight)
    state = %{state | tally: plus(state.tally, {:asked, second})}
    {admitted, {second, state.ours.cuts}, state}
  end

  @impl true
  def finished(state, finished) do
    {second, cuts} = finished.tag
    ours = Ours.finished(state.ours, %{finished | tag: cuts})
    tally = if finished.outcome == :ok, do: plus(state.tally, {:good, second}), else: state.tally
    %{state | ours: ours, tally: tally}
  end

  @impl true
  def next_tick(state), do: Ours.next_tick(state.ours)

  @impl true
  def tick(state, now, seen) do
    ours = Ours.tick(state.ours, now, seen)

    demand =
      for {name, _, _} <- @classes, into: %{} do
        asked = Map.get(state.asked, name, 0) * 1.0
        {name, Map.get(state.demand, name, asked) * 0.7 + asked * 0.3}
      end

    state = %{state | ours: ours, demand: demand, asked: %{}}
    %{state | rates: rates(state)}
  end

  # Each class has its own bucket, so the bucket of the plant must never deny.
  @impl true
  def scale(_state), do: 1_000.0

  @impl true
  def level(state), do: Ours.level(state.ours)

  @doc "Returns the share of a subsystem's calls in these seconds that were answered in time."
  @spec success(map, atom, {number, number}) :: float
  def success(state, class, {from, to}) do
    count = fn what ->
      for {{^what, {^class, second}}, count} <- state.tally,
          second >= from,
          second < to,
          reduce: 0 do
        sum -> sum + count
      end
    end

    count.(:good) / max(1, count.(:asked))
  end

  defp admit_class(state, class, now, in_flight) do
    {taken, bucket} = Bucket.take(state.buckets[class], now, state.rates[class], @seconds[class])

    cond do
      full?(state, class, in_flight) ->
        {false, %{state | ours: denied(state.ours, in_flight)}}

      not taken ->
        {false, %{state | ours: Ours.limited(asked(state.ours))}}

      true ->
        {true,
         %{
           state
           | ours: asked(state.ours),
             buckets: Map.put(state.buckets, class, bucket)
         }}
    end
  end

  # A call denied because of another class counts as denied by the limit, and by the guard only if all is taken.
  defp denied(ours, in_flight) when in_flight >= ours.guard,
    do: %{asked(ours) | guarded: ours.guarded + 1}

  defp denied(ours, _in_flight), do: Ours.limited(asked(ours))

  defp asked(ours), do: %{ours | asked: ours.asked + 1}

  defp full?(%{ours: %{guard: :infinity}}, _class, _in_flight), do: false

  defp full?(%{divide: :uniform} = state, _class, in_flight), do: in_flight >= state.ours.guard

  defp full?(state, class, in_flight) do
    guards = Shares.guards(claims(state), state.rates, state.ours.guard)
    in_flight >= guards[class]
  end

  defp rates(%{divide: :uniform} = state),
    do: for({name, part, _} <- @classes, into: %{}, do: {name, part * together(state)})

  defp rates(state), do: Shares.divide(claims(state), together(state))

  defp together(state), do: state.limit * state.ours.scale

  defp claims(state) do
    for {name, part, priority} <- @classes do
      limit = part * state.limit
      demand = Map.get(state.demand, name, limit)
      {name, %{limit: limit, floor: 0.1 * limit, demand: demand, priority: priority, weight: 1}}
    end
  end

  defp class(_uniform, [{name, _, _}]), do: name
  defp class(uniform, [{name, part, _} | _]) when uniform < part, do: name
  defp class(uniform, [{_, part, _} | rest]), do: class(uniform - part, rest)

  defp plus(counts, key), do: Map.update(counts, key, 1, &(&1 + 1))
end
