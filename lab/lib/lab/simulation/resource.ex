defmodule Lab.Simulation.Resource do
  @moduledoc false
  # One FIFO queue before equal workers. The resource has a clock that runs at the speed of the workers, so a change of
  # speed does not change planned ends, and a stall is a clock that stands still.

  @enforce_keys [:workers, :room, :busy, :waiting]
  defstruct [
    :workers,
    :room,
    :busy,
    :waiting,
    speed: 1.0,
    at_ms: 0.0,
    work_ms: 0.0,
    running: 0,
    queued: 0
  ]

  @type t :: %__MODULE__{}
  @type id :: term

  @doc "Returns an idle resource with a queue for `room` calls."
  @spec new(pos_integer, non_neg_integer) :: t
  def new(workers, room) do
    %__MODULE__{workers: workers, room: room, busy: :gb_sets.empty(), waiting: :queue.new()}
  end

  @doc "Offers a call: it runs, waits, or is rejected."
  @spec offer(t, float, id, float) :: {:taken | :rejected, t}
  def offer(%__MODULE__{running: running, workers: workers} = resource, now, id, work)
      when running < workers,
      do: {:taken, begin(resource, clock(resource, now), id, work)}

  def offer(%__MODULE__{queued: queued, room: room} = resource, _now, _id, _work)
      when queued >= room,
      do: {:rejected, resource}

  def offer(resource, _now, id, work) do
    waiting = :queue.in({id, work}, resource.waiting)
    {:taken, %{resource | waiting: waiting, queued: resource.queued + 1}}
  end

  @doc "Returns the time at which the next call ends, in milliseconds, or `:infinity`."
  @spec next_ms(t) :: float | :infinity
  def next_ms(%__MODULE__{running: 0}), do: :infinity
  def next_ms(%__MODULE__{speed: speed}) when speed == 0, do: :infinity

  def next_ms(resource) do
    {done, _id} = :gb_sets.smallest(resource.busy)
    resource.at_ms + max(0.0, done - resource.work_ms) / resource.speed
  end

  @doc "Ends that call, and starts the next one of the queue."
  @spec finish(t) :: {id, t}
  def finish(resource) do
    {{done, id}, busy} = :gb_sets.take_smallest(resource.busy)
    resource = %{resource | busy: busy, running: resource.running - 1}
    {id, fill(resource, done)}
  end

  @doc "Changes speed and workers. A call on a removed worker never ends."
  @spec change(t, float, float, pos_integer) :: t
  def change(resource, now, speed, workers) do
    clock = clock(resource, now)

    %{resource | at_ms: now, work_ms: clock, speed: speed, workers: workers}
    |> lose(resource.running - workers)
    |> fill(clock)
  end

  defp clock(resource, now), do: resource.work_ms + (now - resource.at_ms) * resource.speed

  defp begin(resource, clock, id, work) do
    busy = :gb_sets.add({clock + work, id}, resource.busy)
    %{resource | busy: busy, running: resource.running + 1}
  end

  defp fill(%__MODULE__{queued: queued, running: running, workers: workers} = resource, clock)
       when queued > 0 and running < workers do
    {{:value, {id, work}}, waiting} = :queue.out(resource.waiting)

    %{resource | waiting: waiting, queued: queued - 1}
    |> begin(clock, id, work)
    |> fill(clock)
  end

  defp fill(resource, _clock), do: resource

  defp lose(resource, too_many) when too_many <= 0, do: resource

  defp lose(resource, too_many) do
    {_lost, busy} = :gb_sets.take_largest(resource.busy)
    lose(%{resource | busy: busy, running: resource.running - 1}, too_many - 1)
  end
end
