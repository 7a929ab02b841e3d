defmodule Lab.Simulation.Plant do
  @moduledoc false
  # A discrete-event simulation of clients, the limit, a controller and the resource behind it. The events are: a call
  # arrives, a worker finishes, an answer arrives, a client gives up, a client retries, the clock of the controller, the
  # next segment of the scenario, the end of a second.

  alias Lab.Simulation.{
    Arrivals,
    Bucket,
    Controller,
    Resource,
    Scenario,
    Second,
    Segment,
    Service,
    Size
  }

  # The longest backoff before a retry.
  @backoff_ms 100.0

  @enforce_keys [:controller, :state, :resource, :arrivals, :segments, :segment, :size, :limit]
  defstruct [
    :controller,
    :state,
    :resource,
    :arrivals,
    :segments,
    :segment,
    :size,
    :limit,
    :bucket,
    :second,
    :extra_rand,
    # Set by new/4: an opaque term must not stand among the defaults of a struct.
    :deadlines,
    :answers,
    :retries,
    next_arrival: :infinity,
    next_second: 1_000.0,
    end_ms: 0.0,
    id: 0,
    calls: %{},
    in_flight: 0,
    retry_limit: 0,
    pain: [],
    seconds: []
  ]

  @type options :: [seed: integer, law: Service.law(), target: boolean]

  @doc "Runs a scenario to its end. Returns its seconds and the last state of the controller."
  @spec run(module, Scenario.t(), Size.t(), options) :: {[Second.t()], Controller.state()}
  def run(controller, scenario, size, options) do
    plant = controller |> new(scenario, size, options) |> enter(0.0) |> loop()
    {Enum.reverse(plant.seconds), plant.state}
  end

  defp new(controller, scenario, size, options) do
    seed = Keyword.fetch!(options, :seed)
    law = scenario.law || Keyword.fetch!(options, :law)
    limit = scenario.limit * size.capacity * 1.0
    [segment | segments] = Scenario.segments(scenario, size, seed)

    setting = %{
      limit: limit,
      deadline_ms: size.deadline_ms,
      workers: size.workers,
      seed: seed,
      target_ms: if(options[:target], do: size.deadline_ms / 2)
    }

    %__MODULE__{
      controller: controller,
      state: controller.new(setting),
      # The queue holds the calls of two seconds.
      resource: Resource.new(size.workers, max(1, round(2 * size.capacity))),
      arrivals: Arrivals.new(seed, law, Size.mean_ms(size)),
      segment: segment,
      segments: segments,
      size: size,
      limit: limit,
      bucket: Bucket.new(limit),
      second: %Second{},
      extra_rand: :rand.seed_s(:exsss, seed + 1),
      deadlines: :queue.new(),
      answers: :queue.new(),
      retries: :gb_sets.empty(),
      end_ms: scenario.seconds * 1_000.0,
      retry_limit: scenario.retries,
      pain: scenario.pain
    }
  end

  ## The loop

  defp loop(plant) do
    {at, event} = next(plant)

    if at >= plant.end_ms and event != :second,
      do: plant,
      else: plant |> handle(event, at) |> loop()
  end

  # Of events at one moment, those that free capacity are first.
  defp next(plant) do
    {:infinity, :none}
    |> sooner(Resource.next_ms(plant.resource), :worker)
    |> sooner(head(plant.answers), :answer)
    |> sooner(head(plant.deadlines), :deadline)
    |> sooner(plant.segment.until_ms, :segment)
    |> sooner(plant.next_second, :second)
    |> sooner(plant.controller.next_tick(plant.state), :tick)
    |> sooner(plant.next_arrival, :arrival)
    |> sooner(first_retry(plant.retries), :retry)
  end

  # In the order of terms every number is less than `:infinity`.
  defp sooner({best, _event}, at, event) when at < best, do: {at, event}
  defp sooner(best, _at, _event), do: best

  defp head(queue) do
    case :queue.peek(queue) do
      {:value, {at, _id}} -> at
      :empty -> :infinity
    end
  end

  defp first_retry(retries) do
    if :gb_sets.is_empty(retries), do: :infinity, else: elem(:gb_sets.smallest(retries), 0)
  end

  defp handle(plant, :arrival, now) do
    {work, arrivals} = Arrivals.work(plant.arrivals)
    {at, arrivals} = Arrivals.next(arrivals, now, plant.segment.demand)
    plant = %{plant | arrivals: arrivals, next_arrival: at}

    if plant.segment.check_ms > 0,
      do: call_later(plant, now + plant.segment.check_ms, work, 0),
      else: call(plant, now, work, 0)
  end

  defp handle(plant, :retry, now) do
    {{_at, _id, work, try}, retries} = :gb_sets.take_smallest(plant.retries)
    call(%{plant | retries: retries}, now, work, try)
  end

  defp handle(plant, :worker, now) do
    {id, resource} = Resource.finish(plant.resource)
    plant = %{plant | resource: resource}

    if plant.segment.extra_ms > 0,
      do: %{plant | answers: :queue.in({now + plant.segment.extra_ms, id}, plant.answers)},
      else: answer(plant, now, id, :ok)
  end

  defp handle(plant, :answer, now) do
    {{:value, {_at, id}}, answers} = :queue.out(plant.answers)
    answer(%{plant | answers: answers}, now, id, :ok)
  end

  defp handle(plant, :deadline, now) do
    {{:value, {_at, id}}, deadlines} = :queue.out(plant.deadlines)
    answer(%{plant | deadlines: deadlines}, now, id, :timeout)
  end

  defp handle(plant, :tick, now) do
    seen = %{
      in_flight: plant.in_flight,
      busy: busy(plant.resource),
      pain: pain(plant.pain, now / 1_000)
    }

    %{plant | state: plant.controller.tick(plant.state, now, seen)}
  end

  defp handle(%{segments: []} = plant, :segment, _now),
    do: %{plant | segment: %{plant.segment | until_ms: :infinity}}

  defp handle(plant, :segment, now) do
    [segment | segments] = plant.segments
    enter(%{plant | segment: segment, segments: segments}, now)
  end

  defp handle(plant, :second, now) do
    second = %{
      plant.second
      | demand: plant.segment.demand,
        capacity: capacity(plant),
        oracle: min(plant.segment.demand, capacity(plant)),
        level: plant.controller.level(plant.state),
        scale: plant.controller.scale(plant.state),
        in_flight: plant.in_flight,
        waiting: plant.resource.queued
    }

    %{
      plant
      | seconds: [second | plant.seconds],
        second: %Second{at: second.at + 1},
        next_second: now + 1_000.0
    }
  end

  ## Segments

  defp enter(%{segment: %Segment{} = segment} = plant, now) do
    there = max(1, ceil(plant.size.workers * segment.workers))
    # If the share of the workers is not a whole number, the workers are rounded up and slower.
    speed = segment.speed * plant.size.workers * segment.workers / there
    {at, arrivals} = Arrivals.next(plant.arrivals, now, segment.demand)

    %{
      plant
      | resource: Resource.change(plant.resource, now, speed * 1.0, there),
        arrivals: arrivals,
        next_arrival: at
    }
  end

  defp capacity(%{segment: segment, size: size}),
    do: size.capacity * segment.speed * segment.workers

  defp busy(%Resource{workers: workers, running: running}), do: running / workers

  defp pain(script, second) do
    for {from, to, source, level} <- script, second >= from, second < to, into: %{} do
      {source, level}
    end
  end

  ## A call

  defp call(plant, now, work, try) do
    plant = count(plant, :asked)
    {admitted, tag, state} = plant.controller.admit(plant.state, now, plant.in_flight)
    plant = %{plant | state: state}

    if admitted, do: limited(plant, now, work, try, tag), else: denied(plant, now, work, try)
  end

  defp limited(plant, now, work, try, tag) do
    rate = plant.limit * plant.controller.scale(plant.state)
    {allowed, bucket} = Bucket.take(plant.bucket, now, rate)
    plant = %{plant | bucket: bucket}

    if allowed do
      admit(plant, now, work, try, tag)
    else
      denied(%{plant | state: plant.controller.limited(plant.state)}, now, work, try)
    end
  end

  defp admit(plant, now, work, try, tag) do
    id = plant.id
    call = {now, plant.in_flight + 1, tag, work, try}

    plant = %{
      plant
      | id: id + 1,
        in_flight: plant.in_flight + 1,
        calls: Map.put(plant.calls, id, call),
        deadlines: :queue.in({now + plant.size.deadline_ms, id}, plant.deadlines)
    }

    case Resource.offer(plant.resource, now, id, work) do
      {:taken, resource} -> %{plant | resource: resource}
      {:rejected, resource} -> answer(%{plant | resource: resource}, now, id, :rejected)
    end
  end

  defp denied(plant, now, work, try), do: plant |> count(:denied) |> again(now, work, try)

  # A call that timed out or was answered ignores a second answer.
  defp answer(plant, now, id, outcome) do
    case Map.pop(plant.calls, id) do
      {nil, _calls} -> plant
      {call, calls} -> answered(%{plant | calls: calls}, now, call, outcome)
    end
  end

  defp answered(plant, now, {started, in_flight_then, tag, work, try}, outcome) do
    state =
      plant.controller.finished(plant.state, %{
        now: now,
        outcome: outcome,
        duration_ms: now - started,
        in_flight_then: in_flight_then,
        in_flight: plant.in_flight,
        tag: tag
      })

    plant = %{plant | state: state, in_flight: plant.in_flight - 1}

    case outcome do
      :ok -> count(plant, :good)
      :timeout -> plant |> count(:late) |> again(now, work, try)
      :rejected -> plant |> count(:rejected) |> again(now, work, try)
    end
  end

  defp again(%{retry_limit: limit} = plant, _now, _work, try) when try >= limit, do: plant

  defp again(plant, now, work, try) do
    {uniform, rand} = :rand.uniform_s(plant.extra_rand)
    call_later(%{plant | extra_rand: rand}, now + uniform * @backoff_ms, work, try + 1)
  end

  defp call_later(plant, at, work, try) do
    retry = {at, plant.id, work, try}
    %{plant | id: plant.id + 1, retries: :gb_sets.add(retry, plant.retries)}
  end

  defp count(%{second: second} = plant, key),
    do: %{plant | second: Map.update!(second, key, &(&1 + 1))}
end
