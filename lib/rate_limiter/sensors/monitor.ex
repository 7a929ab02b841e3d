defmodule RateLimiter.Sensors.Monitor do
  @moduledoc false
  # Reads the sensors once an interval, and sets the gates of this node.
  #
  # A gate hears this BEAM alone, and reaches this node alone. Its scale comes from the same law as a limit's where
  # nobody reports work: the readings are its pain.

  use GenServer

  # Readings in a row without an opinion that are worth a word: a sensor of spans has none at its first.
  @silent 3

  alias RateLimiter.Adaptive.{Observation, Signals}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Sensors.{Config, Reading}
  alias RateLimiter.VSM.{Explain, Gate, Scales, Table, Tree}

  @doc false
  @spec start_link(Table.t()) :: GenServer.on_start()
  def start_link(table),
    do: GenServer.start_link(__MODULE__, table, name: Registry.via({:monitor, table}))

  @impl true
  def init(table) do
    config = Table.config(table)
    instance = Table.get(table, :instance)

    sensors =
      for {name, module, options, thresholds} <- config.sensors,
          do: {name, module, {:not_begun, [instance: instance] ++ options}, thresholds}

    schedule(table, config)

    {:ok,
     %{
       table: table,
       config: config,
       sensors: sensors,
       silent: %{},
       moves: for(sensor <- config.sensors, not Config.of_store?(sensor), do: elem(sensor, 0)),
       store: :well,
       scale: Table.get(table, :gate, 1.0),
       law: Signals.new(scale: Table.get(table, :gate, 1.0), floor: 0.1, ceiling: 1.0),
       at_ms: Table.now_ms(table)
     }}
  end

  @impl true
  def handle_info(:tick, state) do
    schedule(state.table, state.config)
    {:noreply, state |> read() |> decide()}
  end

  def handle_info(_late_answer, state), do: {:noreply, state}

  defp read(state) do
    deadline_ms = Reading.deadline_ms(Table.real_time?(state.table))
    {sensors, report} = state.sensors |> Enum.map(&read_one(&1, deadline_ms)) |> Enum.unzip()
    report = Map.new(report)
    Table.put(state.table, :sensors, report)

    silent =
      for {name, %{no_opinion: why}} <- report,
          why != nil,
          into: %{},
          do: {name, Map.get(state.silent, name, 0) + 1}

    for {name, @silent} <- silent, do: say_silent(state, name, report[name].no_opinion)
    look_at_store(%{state | sensors: sensors, silent: silent}, report[:store])
  end

  # Where calls are counted has changed. Said once: at the worst, and when all is well again.
  defp look_at_store(%{store: :well} = state, %{stress: 1.0, value: lost}) do
    say_store(
      state,
      1.0,
      "Redis left #{percent(lost)} of what it was asked undone: it is counted here, and no limit is lower for it"
    )

    %{state | store: :away}
  end

  defp look_at_store(%{store: :away} = state, %{stress: 0.0}) do
    say_store(state, 0.0, "Redis does all that it is asked again")
    %{state | store: :well}
  end

  defp look_at_store(state, _usual), do: state

  defp say_store(state, stress, sentence) do
    Explain.add(state.table, nil, %{
      action: :hold,
      held_by: :store,
      binding: :store,
      stress: stress,
      from: state.scale,
      to: state.scale,
      sentence: sentence
    })
  end

  # It begins when it is first read; one that cannot tries again each time.
  defp read_one({name, module, {:not_begun, options}, thresholds} = sensor, deadline_ms) do
    case Reading.begin(module, options) do
      {:ok, state} -> read_one({name, module, {:begun, state}, thresholds}, deadline_ms)
      {:failed, why} -> {sensor, {name, Reading.report({:no_opinion, why}, thresholds)}}
    end
  end

  defp read_one({name, module, {:begun, state}, thresholds}, deadline_ms) do
    {reading, state} = Reading.take(module, state, deadline_ms)
    {{name, module, {:begun, state}, thresholds}, {name, Reading.report(reading, thresholds)}}
  end

  defp say_silent(state, name, why) do
    Explain.add(state.table, nil, %{
      action: :hold,
      held_by: :no_opinion,
      binding: name,
      from: state.scale,
      to: state.scale,
      sentence: "the sensor #{inspect(name)} has no opinion: #{why}"
    })
  end

  defp decide(%{table: table} = state) do
    now = Table.now_ms(table)

    pain =
      for {name, %{stress: stress}} <- Map.take(Table.get(table, :sensors, %{}), state.moves),
          stress != nil,
          into: %{},
          do: {name, stress}

    observation = %Observation{elapsed_ms: max(now - state.at_ms, 1), pain: pain}
    {law, decision} = Signals.step(state.law, observation, now)

    unless state.config.dry_run, do: open(table, decision.scale)
    Table.put(table, :gate, decision.scale)
    if decision.scale != state.scale, do: note(state, decision)
    %{state | law: law, scale: decision.scale, at_ms: now}
  end

  defp open(table, scale) when scale >= 1.0 do
    for {subsystem, _own} <- Tree.all(table), do: Gate.set_open(subsystem.gate, 1.0)
  end

  # What may pass is what would have been asked at this scale, and who is most important passes first. What is asked of a
  # capacity that others share is asked of those already.
  defp open(table, scale) do
    {shared, members} = Enum.split_with(Tree.all(table), fn {_subsystem, own} -> own.shared end)
    for {subsystem, _own} <- shared, do: Gate.set_open(subsystem.gate, scale)
    for {gate, share} <- Scales.gates(members, scale), do: Gate.set_open(gate, share)
  end

  defp note(state, decision) do
    Explain.add(state.table, nil, %{
      action: decision.action,
      stress: decision.stress,
      binding: sensor(decision.binding),
      held_by: decision.held_by,
      from: state.scale,
      to: decision.scale,
      dry_run: state.config.dry_run,
      sentence: sentence(state, decision)
    })
  end

  defp sensor({:pain, name}), do: name
  defp sensor(binding), do: binding

  defp sentence(%{table: table}, decision) do
    with name when name != nil <- sensor(decision.binding),
         %{value: value} when value != nil <- Table.get(table, :sensors, %{})[name] do
      "this node lets #{percent(decision.scale)} go on: #{inspect(name)} reads #{Float.round(value / 1, 2)}"
    else
      _nothing_binds -> "this node lets #{percent(decision.scale)} go on"
    end
  end

  defp percent(share), do: "#{round(share * 100)} %"

  defp schedule(table, config) do
    if Table.real_time?(table), do: Process.send_after(self(), :tick, config.interval)
  end
end
