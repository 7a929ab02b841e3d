defmodule Lab.Simulation.Grammar do
  @moduledoc false
  # Random cells for `mix simulate --random N`: a size, a law of service times and a scenario of one to three faults, all from
  # one seed. Faults are falls of capacity of any depth and length, ramps, bursts, additive latency, and two of them at once.

  alias Lab.Simulation.{Scenario, Service, Size}
  alias RateLimiter.Core.Numbers

  @workers [1, 1, 2, 3, 4, 6, 10, 16, 24, 40, 64]
  @laws [:constant, {:erlang, 4}, :exponential, {:lognormal, 2.0}]
  # Calls per second: slower ones cannot be judged, faster ones take long to simulate.
  @capacity {8, 400}

  @doc "Returns the cell of a seed."
  @spec cell(integer) :: {Scenario.t(), Size.t(), Service.law()}
  def cell(seed) do
    :rand.seed(:exsss, seed)
    size = size()
    demand = between(0.4, 0.95)

    {faults, titles} =
      1..pick([1, 1, 2, 3]) |> Enum.map(fn _ -> fault(demand, size) end) |> Enum.unzip()

    parts = [{30, demand, []} | Enum.flat_map(faults, &(&1 ++ [{between(20, 50), demand, []}]))]

    scenario = %Scenario{
      key: :"r#{seed}",
      title: "#{Numbers.number(demand)}: #{Enum.join(titles, ", ")}",
      seconds: parts |> Enum.map(&elem(&1, 0)) |> Enum.sum() |> ceil(),
      limit: between(1.05, 1.6),
      demand: demand,
      timeline: ends(parts)
    }

    {scenario, size, pick(@laws)}
  end

  defp size do
    workers = pick(@workers)
    mean_ms = 10 * :math.pow(100, :rand.uniform())
    {least, most} = @capacity
    Size.new({workers, (workers * 1_000 / mean_ms) |> max(least) |> min(most) |> round()})
  end

  defp fault(demand, size) do
    case pick([:fall, :fall, :fall, :ramp, :burst, :latency, :mixed]) do
      :fall -> fall(demand, size)
      :ramp -> ramp(demand, size)
      :burst -> burst(demand)
      :latency -> latency(demand, size)
      :mixed -> mixed(demand, size)
    end
  end

  defp fall(demand, size) do
    change = less(size)
    seconds = between(5, 90)
    {[{seconds, demand, [change]}], "#{text(change)} for #{round(seconds)} s"}
  end

  defp ramp(demand, size) do
    {key, least} = less(size)
    steps = round(between(10, 60))
    down = for step <- 1..steps, do: {1, demand, [{key, 1 - (1 - least) * step / steps}]}
    held = between(5, 30)

    {down ++ [{held, demand, [{key, least}]}],
     "ramp of #{steps} s to #{text({key, least})} for #{round(held)} s"}
  end

  defp burst(demand) do
    times = between(1.5, 8)
    seconds = between(5, 60)
    {[{seconds, demand * times, []}], "#{round(times)} times the calls for #{round(seconds)} s"}
  end

  defp latency(demand, size) do
    extra = {:extra_ms, (between(0.2, 4) * Size.mean_ms(size)) |> min(size.deadline_ms / 2)}
    seconds = between(20, 60)
    {[{seconds, demand, [extra]}], "#{text(extra)} for #{round(seconds)} s"}
  end

  defp mixed(demand, size) do
    {_key, extra_ms} = extra = {:extra_ms, between(0.1, 0.3) * size.deadline_ms}
    change = less(size)
    seconds = between(10, 60)
    times = pick([1, between(1, 3)])

    {[
       {seconds, demand * times, [change | if(times == 1, do: [{:extra_ms, extra_ms}], else: [])]}
     ],
     "#{text(change)} and #{if times == 1, do: text(extra), else: "#{Numbers.decimal(times, 1)} times the calls"} for #{round(seconds)} s"}
  end

  # The remaining speed, or share of workers. A slower worker could not answer in time.
  defp less(size) do
    left = 1 - between(0.1, 0.9)

    if :rand.uniform() < 0.6,
      do: {:speed, max(left, Size.mean_ms(size) / size.deadline_ms)},
      else: {:workers, left}
  end

  defp text({:extra_ms, ms}), do: "+#{round(ms)} ms"
  defp text({key, left}), do: "#{key} at #{round(left * 100)} %"

  defp ends(parts) do
    {ends, _end} =
      Enum.map_reduce(parts, 0, fn {seconds, demand, changes}, at ->
        {{at + seconds, demand, changes}, at + seconds}
      end)

    ends
  end

  defp between(least, most), do: least + (most - least) * :rand.uniform()
  defp pick(values), do: Enum.random(values)
end
