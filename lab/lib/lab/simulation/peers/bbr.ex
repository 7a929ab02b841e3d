defmodule Lab.Simulation.Peers.Bbr do
  @moduledoc false
  # Kratos (go-kratos/aegis), its BBR limiter, with its defaults: if the CPU is above 80 %, or was within the last
  # second, no more calls in flight than the largest throughput times the smallest mean latency of 10 s in 100
  # buckets. The CPU is a moving average (0.95, every 500 ms) of the share of workers that are busy.
  use Lab.Simulation.Controller

  @sample_ms 500.0
  @decay 0.95

  defstruct cpu: 0.0,
            threshold: 0.8,
            buckets: 100,
            bucket_ms: 100.0,
            next: @sample_ms,
            now: 0,
            current: {0, 0.0},
            past: [],
            max_pass: 1,
            min_rt: 1,
            dropped_at: nil

  @impl true
  def new(_setting), do: %__MODULE__{}

  @impl true
  def admit(bbr, now, in_flight) do
    bbr = forward(bbr, now)
    {drop, bbr} = drop(bbr, now, in_flight)
    {not drop, nil, bbr}
  end

  @impl true
  def finished(bbr, finished) do
    bbr = forward(bbr, finished.now)
    {count, sum} = bbr.current
    %{bbr | current: {count + 1, sum + max(1, ceil(finished.duration_ms))}}
  end

  @impl true
  def next_tick(bbr), do: bbr.next

  @impl true
  def tick(bbr, now, seen),
    do: %{bbr | cpu: bbr.cpu * @decay + seen.busy * (1 - @decay), next: now + @sample_ms}

  @impl true
  def level(bbr), do: max_in_flight(bbr)

  @doc "Returns the product of throughput and latency: the calls in flight that they explain."
  def max_in_flight(bbr) do
    trunc(Float.floor(bbr.max_pass * bbr.min_rt * (1_000 / bbr.bucket_ms) / 1_000) + 0.5)
  end

  @doc "Advances to the bucket of a time. Only full buckets count."
  def forward(bbr, now) do
    bucket = trunc(now / bbr.bucket_ms)

    if bucket == bbr.now do
      bbr
    else
      past =
        Enum.take_while([{bbr.now, bbr.current} | bbr.past], fn {at, _} ->
          at > bucket - bbr.buckets
        end)

      summarise(%{bbr | now: bucket, current: {0, 0.0}, past: past})
    end
  end

  defp summarise(bbr) do
    {pass, rt} =
      Enum.reduce(bbr.past, {1, nil}, fn
        {_at, {0, _sum}}, best -> best
        {_at, {count, sum}}, {pass, rt} -> {max(pass, count), min(rt, sum / count)}
      end)

    # In the order of terms `nil` is greater than every number.
    %{bbr | max_pass: pass, min_rt: if(rt, do: max(1, ceil(rt)), else: 1)}
  end

  defp drop(%{cpu: cpu, threshold: threshold} = bbr, now, in_flight) when cpu < threshold do
    cond do
      bbr.dropped_at == nil -> {false, bbr}
      now - bbr.dropped_at <= 1_000 -> {too_many?(bbr, in_flight), bbr}
      true -> {false, %{bbr | dropped_at: nil}}
    end
  end

  defp drop(bbr, now, in_flight) do
    drop = too_many?(bbr, in_flight)
    {drop, if(drop and bbr.dropped_at == nil, do: %{bbr | dropped_at: now}, else: bbr)}
  end

  defp too_many?(bbr, in_flight), do: in_flight > 1 and in_flight > max_in_flight(bbr)
end
