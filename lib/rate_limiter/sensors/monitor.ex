defmodule RateLimiter.Sensors.Monitor do
  @moduledoc false
  # Reads the sensors once an interval and sets this node's gates.
  #
  # The gate's scale comes from the same law as the limit of a subsystem without reported work: the stress of the readings
  # is its pain.

  use GenServer

  alias RateLimiter.Adaptive.{Observation, Signals}
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Sensors.{Config, Reading}
  alias RateLimiter.VSM.{Explain, Gate, Scales, Table, Tree}

  # A sensor is explained after so many readings in a row without an opinion. Some never have one at their first reading.
  @silent 3

  @doc false
  @spec start_link(Table.t()) :: GenServer.on_start()
  def start_link(table),
    do: GenServer.start_link(__MODULE__, table, name: Registry.via({:monitor, table}))

  @impl true
  def init(table) do
    config = Table.config(table)
    instance = Table.get(table, :instance)
    scale = Table.get(table, :gate, 1.0)

    sensors =
      for {name, module, options, thresholds} <- config.sensors,
          do: {name, module, {:new, [instance: instance] ++ options}, thresholds}

    schedule(table, config)

    {:ok,
     %{
       table: table,
       config: config,
       sensors: sensors,
       # Readings in a row without an opinion, by sensor.
       silent: %{},
       gating: for(sensor <- config.sensors, not Config.of_store?(sensor), do: elem(sensor, 0)),
       store: :available,
       scale: scale,
       law: Signals.new(scale: scale, floor: 0.1, ceiling: 1.0),
       at_ms: Table.now_ms(table)
     }}
  end

  @impl true
  def handle_info(:tick, state) do
    schedule(state.table, state.config)
    {:noreply, state |> read() |> decide()}
  end

  # The answer of a sensor that took too long.
  def handle_info(_late, state), do: {:noreply, state}

  defp schedule(table, config) do
    if Table.real_time?(table), do: Process.send_after(self(), :tick, config.interval)
  end

  ## Readings

  defp read(state) do
    deadline_ms = Reading.deadline_ms(Table.real_time?(state.table))
    {sensors, report} = state.sensors |> Enum.map(&read(&1, deadline_ms)) |> Enum.unzip()
    report = Map.new(report)
    Table.put(state.table, :sensors, report)

    silent =
      for {name, %{no_opinion: reason}} <- report,
          reason != nil,
          into: %{},
          do: {name, Map.get(state.silent, name, 0) + 1}

    for {name, @silent} <- silent, do: explain_silent(state, name, report[name].no_opinion)
    check_store(%{state | sensors: sensors, silent: silent}, report[:store])
  end

  # A sensor that cannot be initialised is tried again at each reading.
  defp read({name, module, {:new, options}, thresholds} = sensor, deadline_ms) do
    case Reading.init(module, options) do
      {:ok, state} ->
        read({name, module, {:ready, state}, thresholds}, deadline_ms)

      {:failed, reason} ->
        {sensor, {name, Reading.report({:no_opinion, reason}, thresholds)}}
    end
  end

  defp read({name, module, {:ready, state}, thresholds}, deadline_ms) do
    {reading, state} = Reading.take(module, state, deadline_ms)
    {{name, module, {:ready, state}, thresholds}, {name, Reading.report(reading, thresholds)}}
  end

  # An outage is explained once when it begins and once when all is well again.
  defp check_store(%{store: :available} = state, %{stress: 1.0, value: lost}) do
    explain_store(
      state,
      1.0,
      "Redis did not answer #{Numbers.percent(lost)} of requests: this node counts them itself, and no limit is reduced."
    )

    %{state | store: :unavailable}
  end

  defp check_store(%{store: :unavailable} = state, %{stress: stress}) when stress == 0 do
    explain_store(state, 0.0, "Redis answers all requests again.")
    %{state | store: :available}
  end

  defp check_store(state, _unchanged), do: state

  ## The gate

  defp decide(%{table: table} = state) do
    now = Table.now_ms(table)

    pain =
      for {name, %{stress: stress}} <- Map.take(Table.get(table, :sensors, %{}), state.gating),
          stress != nil,
          into: %{},
          do: {name, stress}

    observation = %Observation{elapsed_ms: max(now - state.at_ms, 1), pain: pain}
    {law, decision} = Signals.step(state.law, observation, now)

    unless state.config.dry_run, do: open(table, decision.scale)
    Table.put(table, :gate, decision.scale)
    if decision.scale != state.scale, do: explain(state, decision)
    %{state | law: law, scale: decision.scale, at_ms: now}
  end

  defp open(table, scale) when scale >= 1.0 do
    for {subsystem, _config} <- Tree.all(table), do: Gate.set_open(subsystem.gate, 1.0)
  end

  # The gates together admit `scale` of all calls, the most important first. Calls of a shared capacity are counted at
  # the subsystems that share it.
  defp open(table, scale) do
    {shared, members} = Enum.split_with(Tree.all(table), fn {_, config} -> config.shared end)
    for {subsystem, _config} <- shared, do: Gate.set_open(subsystem.gate, scale)
    for {gate, share} <- Scales.gates(members, scale), do: Gate.set_open(gate, share)
  end

  ## Explanations

  defp explain(state, decision) do
    sensor = sensor(decision.binding)

    reading =
      case Table.get(state.table, :sensors, %{})[sensor] do
        %{value: value} when value != nil ->
          ": #{inspect(sensor)} reads #{Numbers.number(value / 1)}"

        _no_opinion ->
          ""
      end

    Explain.add(state.table, nil, %{
      action: decision.action,
      stress: decision.stress,
      binding: sensor,
      held_by: decision.held_by,
      from: state.scale,
      to: decision.scale,
      dry_run: state.config.dry_run,
      sentence: "This node admits #{Numbers.percent(decision.scale)} of calls#{reading}."
    })
  end

  defp sensor({:pain, name}), do: name
  defp sensor(binding), do: binding

  defp explain_silent(state, name, reason) do
    explain_hold(state, %{
      held_by: :no_opinion,
      binding: name,
      sentence: "The sensor #{inspect(name)} has no opinion: #{reason}."
    })
  end

  defp explain_store(state, stress, sentence),
    do:
      explain_hold(state, %{held_by: :store, binding: :store, stress: stress, sentence: sentence})

  defp explain_hold(%{table: table, scale: scale}, fields),
    do: Explain.add(table, nil, Map.merge(%{action: :hold, from: scale, to: scale}, fields))
end
