defmodule RateLimiter.VSM.Controller do
  @moduledoc false
  # Steps the loop of one subsystem: once an interval, and at once when the pain is great.
  #
  # What it knows is in the instance's table and on the limits themselves. When it crashes the last scale stays, and the
  # next one goes on from there.

  use GenServer

  alias RateLimiter.Agreement.Participant
  alias RateLimiter.Instance.Registry
  alias RateLimiter.VSM.{Decide, Loop, Observe, Subsystem, Table}

  # One step out of turn a second: pain can be said faster than anything can be known of what the last cut did.
  @apart_ms 1_000

  # A tenth of the interval to either side, so that the nodes and subsystems do not step in time with each other.
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
    # Pain that called the one that crashed would wait for it for ever.
    Subsystem.lower_flag(loop.subsystem, :urgent)
    state = %{loop: loop, table: table, urgent_ms: nil, participant: Participant.new(table, name)}
    schedule(state)
    {:noreply, state}
  end

  @impl true
  def handle_info(:tick, state) do
    schedule(state)
    {:noreply, take_step(state, false)}
  end

  def handle_info(:urgent, state) do
    Subsystem.lower_flag(state.loop.subsystem, :urgent)
    now = Table.now_ms(state.table)

    if state.urgent_ms != nil and now - state.urgent_ms < @apart_ms,
      do: {:noreply, state},
      else: {:noreply, take_step(%{state | urgent_ms: now}, true)}
  end

  def handle_info({reference, answer}, %{participant: %Participant{}} = state)
      when is_reference(reference) do
    {participant, loop} = Participant.reply(state.participant, state.loop, reference, answer)
    {:noreply, %{state | participant: participant, loop: loop}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp take_step(%{participant: nil, loop: loop} = state, _urgent?) do
    {loop, seen} = Observe.look(loop)
    loop = Decide.step(loop, seen.observation, seen.now)
    %{state | loop: Observe.reflect(loop, seen)}
  end

  # With others a step is theirs, too: it is taken when they have answered.
  defp take_step(state, urgent?) do
    {participant, loop} = Participant.tick(state.participant, state.loop, urgent?)
    %{state | participant: participant, loop: loop}
  end

  defp schedule(%{table: table, participant: participant}) do
    if Table.real_time?(table) do
      delay =
        (participant && Participant.delay_ms(participant, table)) ||
          spread(Table.config(table).interval)

      Process.send_after(self(), :tick, delay)
    end
  end

  defp spread(interval) do
    spread = div(interval, @jitter)
    interval - spread + :rand.uniform(2 * spread + 1) - 1
  end
end
