defmodule RateLimiter.VSM.Controller do
  @moduledoc false
  # Schedules the control loop of one subsystem: a step in each interval, and an urgent one when pain is great.
  #
  # State that must survive a crash is in the instance's table and on the limits themselves. After a crash the last scale
  # stays in force, and the next controller resumes from it.

  use GenServer

  alias RateLimiter.Agreement.Participant
  alias RateLimiter.Instance.Registry
  alias RateLimiter.VSM.{Decide, Loop, Observe, Subsystem, Table}

  # Minimum time between urgent steps: pain is reported faster than the effect of a cut becomes visible.
  @urgent_apart_ms 1_000

  # A tenth of the interval in both directions, so that nodes and subsystems do not step at the same time.
  @jitter 10

  @doc false
  def child_spec({_table, name} = argument),
    do: %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [argument]}}

  @doc false
  @spec start_link({Table.t(), atom}) :: GenServer.on_start()
  def start_link({table, name} = argument),
    do: GenServer.start_link(__MODULE__, argument, name: Registry.via({:controller, table, name}))

  @impl true
  def init({table, name}), do: {:ok, {table, name}, {:continue, :resume}}

  @impl true
  def handle_continue(:resume, {table, name}) do
    loop = Loop.resume(table, name)
    # A request for an urgent step was lost with the previous controller.
    Subsystem.lower_flag(loop.subsystem, :urgent)
    participant = Participant.new(table, name)
    state = %{table: table, loop: loop, participant: participant, urgent_ms: nil}
    schedule(state)
    {:noreply, state}
  end

  @impl true
  def handle_info(:tick, state) do
    schedule(state)
    {:noreply, step(state, false)}
  end

  def handle_info(:urgent, state) do
    Subsystem.lower_flag(state.loop.subsystem, :urgent)
    now = Table.now_ms(state.table)

    if state.urgent_ms != nil and now - state.urgent_ms < @urgent_apart_ms,
      do: {:noreply, state},
      else: {:noreply, step(%{state | urgent_ms: now}, true)}
  end

  def handle_info({reference, reply}, %{participant: %Participant{}} = state)
      when is_reference(reference) do
    {participant, loop} = Participant.reply(state.participant, state.loop, reference, reply)
    {:noreply, %{state | participant: participant, loop: loop}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp step(%{participant: nil, loop: loop} = state, _urgent?) do
    {loop, seen} = Observe.look(loop)
    loop = Decide.step(loop, seen.observation, seen.now)
    %{state | loop: Observe.reflect(loop, seen)}
  end

  # The step is taken when the other nodes' observations have arrived.
  defp step(%{participant: participant} = state, urgent?) do
    {participant, loop} = Participant.tick(participant, state.loop, urgent?)
    %{state | participant: participant, loop: loop}
  end

  defp schedule(%{table: table, participant: participant}) do
    if Table.real_time?(table) do
      delay_ms = participant && Participant.delay_ms(participant, table)
      delay_ms = delay_ms || jittered(Table.config(table).interval)
      Process.send_after(self(), :tick, delay_ms)
    end
  end

  defp jittered(interval) do
    jitter = div(interval, @jitter)
    interval - jitter + :rand.uniform(2 * jitter + 1) - 1
  end
end
