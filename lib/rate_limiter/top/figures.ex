defmodule RateLimiter.Top.Figures do
  @moduledoc false
  # What two snapshots of a node show together: rates, the most denied limiters first, and what restrains a subsystem.
  # A picture in a terminal and a page in a browser are drawn from it.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Top.Snapshot

  @redis [:calls, :batches, :timeouts, :refused]

  # Of the sensors that are built in. One of the application's own may have any unit.
  @shares [:schedulers, :memory, :store]
  @units %{timer: " ms", run_queue: " per scheduler", mailboxes: " messages"}

  @typedoc "Counts per second, or `nil` without an earlier snapshot."
  @type rates :: %{atom => non_neg_integer} | nil

  @doc """
  Returns the instances of `now`, each with its limiters, subsystems and Redis, which have `:rates` since `before`, and
  with the sum of the limiters' rates as its own.
  """
  @spec instances(Snapshot.t(), Snapshot.t()) :: [map]
  def instances(now, before) do
    seconds = max(now.at_ms - before.at_ms, 1) / 1_000

    for instance <- now.instances,
        do: instance(instance, find(before.instances, instance.name), seconds)
  end

  defp instance(instance, old, seconds) do
    limiters =
      for limiter <- with_rates(instance.limiters, old[:limiters], seconds) do
        before = find(old[:limiters] || [], limiter.name)
        %{limiter | windows: with_rates(limiter.windows, before[:windows], seconds)}
      end

    limiters = Enum.sort_by(limiters, &most_denied/1)

    Map.merge(instance, %{
      rates: total(limiters),
      limiters: limiters,
      subsystems: with_rates(instance.subsystems, old[:subsystems], seconds),
      redis: redis(instance.redis, old[:redis], seconds)
    })
  end

  defp with_rates(list, old, seconds) do
    for now <- list,
        do: Map.put(now, :rates, rates(counts(now), counts(find(old || [], now.name)), seconds))
  end

  defp redis(nil, _old, _seconds), do: nil

  defp redis(redis, old, seconds),
    do:
      Map.put(
        redis,
        :rates,
        rates(Map.take(redis, @redis), old && Map.take(old, @redis), seconds)
      )

  defp counts(nil), do: nil

  defp counts(%{asked: asked, denied: denied, guarded: guarded, shed: shed}),
    do: %{calls: asked, denied: denied + guarded, shed: shed}

  defp counts(%{checks: checks, denials: denials, would_deny: would_deny}),
    do: %{calls: checks, denied: denials, would_deny: would_deny}

  defp counts(%{checks: checks, denials: denials}), do: %{calls: checks, denied: denials}

  # A limiter that was removed and added again counts from zero.
  defp rates(_now, nil, _seconds), do: nil

  defp rates(now, old, seconds),
    do: Map.new(now, fn {key, count} -> {key, round(max(count - old[key], 0) / seconds)} end)

  defp total(limiters) do
    case for %{rates: %{} = rates} <- limiters, do: rates do
      [] -> nil
      rates -> Enum.reduce(rates, &Map.merge(&1, &2, fn _key, one, other -> one + other end))
    end
  end

  # The most denied first, then by name, in which numbers count as such.
  defp most_denied(%{name: name, rates: rates}) do
    parts = Regex.split(~r/\d+/, "#{name}", include_captures: true)
    name = for part <- parts, do: with({number, ""} <- Integer.parse(part), do: number)
    {-((rates && rates.denied) || 0), name}
  end

  defp find(list, name), do: Enum.find(list, &(&1.name == name))

  @doc "Returns what restrains a subsystem, in sentences. The first is the last one of its control law."
  @spec reasons(map) :: [String.t()]
  def reasons(subsystem) do
    sentence = if subsystem.sentence in [nil, ""], do: [], else: [subsystem.sentence]

    open =
      if subsystem.open < 1.0,
        do: [
          "the gate of this node admits #{Numbers.percent(subsystem.open)}, and sheds " <>
            Numbers.percent(1.0 - subsystem.open)
        ],
        else: []

    contained = for source <- subsystem.contained, do: "#{inspect(source)} is contained"

    dry =
      if subsystem.dry_run,
        do: ["dry run: would be #{Numbers.percent(subsystem[:asked_scale] || 1.0)}"],
        else: []

    sentence ++ agreement(subsystem[:agreement]) ++ open ++ contained ++ dry
  end

  # The sentence of an agreed step names the nodes. An outage of the agreement needs a line of its own, as long as it lasts.
  defp agreement(%{state: :alone}), do: ["alone: this node decides by its own signals"]
  defp agreement(_agreed), do: []

  @doc "Returns a number per second as text, `-` if it is not known."
  @spec rate(rates, atom) :: String.t()
  def rate(nil, _key), do: "-"
  def rate(rates, key), do: Numbers.number(rates[key])

  @doc "Returns a sensor's last reading as text, with its unit."
  @spec sensor({atom, map}) :: String.t()
  def sensor({name, %{no_opinion: nil, value: value}}) when name in @shares,
    do: "#{name} #{Numbers.percent(value)}"

  def sensor({name, %{no_opinion: nil, value: value}}),
    do: "#{name} #{Numbers.number(value)}#{@units[name]}"

  def sensor({name, _none}), do: "#{name} no opinion"

  @doc "Returns the calls in flight, and how many the guard admits."
  @spec at_work(map) :: String.t()
  def at_work(%{in_flight: in_flight, guard: :infinity}), do: "#{in_flight}"
  def at_work(%{in_flight: in_flight, guard: guard}), do: "#{in_flight} of #{guard}"

  @doc "Returns a size of memory as text."
  @spec bytes(non_neg_integer) :: String.t()
  def bytes(bytes) when bytes < 1_048_576, do: "#{div(bytes, 1_024)} KB"
  def bytes(bytes), do: "#{div(bytes, 1_048_576)} MB"

  @doc "Returns the state of a breaker in words."
  @spec breaker(:closed | :half_open | :opened) :: String.t()
  def breaker(:half_open), do: "half open"
  def breaker(:opened), do: "open"
  def breaker(:closed), do: "closed"
end
