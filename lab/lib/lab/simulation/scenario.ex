defmodule Lab.Simulation.Scenario do
  @moduledoc false
  # A scenario: the demand and the faults of a resource over time, relative to its capacity.

  alias Lab.Simulation.{Segment, Size}

  @enforce_keys [:key, :title, :seconds]
  defstruct [
    :key,
    :title,
    :seconds,
    about: "",
    limit: 1.2,
    law: nil,
    retries: 0,
    pain: [],
    overload: nil,
    timeline: nil,
    demand: 0.9
  ]

  #   about      what happens, in a sentence
  #   demand     in normal operation, as a share of capacity
  #   limit      the configured limit, as a multiple of capacity
  #   law        of service times, if the scenario has its own
  #   retries    of a client
  #   pain       {from second, to second, source, level}
  #   overload   {from, to} in seconds: the constant overload
  #   timeline   {end in seconds, demand / capacity, other fields of the segment}, if the scenario has its own
  @type t :: %__MODULE__{
          key: atom,
          title: String.t(),
          about: String.t(),
          seconds: pos_integer,
          limit: number,
          law: nil | Lab.Simulation.Service.law(),
          retries: non_neg_integer,
          pain: [{number, number, term, number}],
          overload: nil | {number, number},
          timeline: nil | [{number, number, keyword}],
          demand: number
        }

  @scenarios [
    %{
      key: :a,
      title: "capacity -50 %",
      about: "The workers become half as fast after 30 s, for a minute, under 90 % load.",
      seconds: 120,
      overload: {30, 90}
    },
    %{
      key: :b,
      title: "flash crowd x10",
      about: "Ten times as many calls arrive after 30 s, for 30 s.",
      seconds: 100,
      overload: {30, 60}
    },
    %{
      key: :c,
      title: "leak 100 to 40 %",
      about:
        "The workers become slower from 10 s on, to 40 % after 190 s, and are restarted after 220 s.",
      seconds: 250
    },
    %{
      key: :d,
      title: "square wave 20 s",
      about: "The workers are half as fast in every other 20 s.",
      seconds: 160
    },
    %{
      key: :e,
      title: "heavy tail, stalls",
      about:
        "Some calls take very long, and all workers stall now and then, far below capacity: no call has to be denied.",
      seconds: 150,
      law: {:pareto, 1.8}
    },
    %{
      key: :f,
      title: "+400 ms, not load",
      about:
        "Every answer takes 400 ms longer from 30 s to 90 s, at any load: no call has to be denied.",
      seconds: 150
    },
    %{
      key: :g,
      title: "1 of 4 nodes lost",
      about:
        "One of four nodes is lost from 30 s to 90 s, with the calls in it, under 90 % load.",
      seconds: 120,
      overload: {30, 90}
    },
    %{
      key: :h,
      title: "limit 2x too high",
      about: "The limit is twice the capacity, and twice as many calls arrive as fit.",
      seconds: 120,
      limit: 2.0,
      overload: {0, 120}
    },
    %{
      key: :i,
      title: "retry storm",
      about:
        "The workers are slow from 30 s to 50 s, and clients repeat a failed call up to three times.",
      seconds: 120,
      retries: 3
    },
    %{
      key: :j,
      title: "Redis stalls 5 s",
      about:
        "Each check waits 100 ms for its store from 40 s to 45 s, until the fallback decides.",
      seconds: 90
    },
    %{
      key: :l,
      title: "a false signal",
      about: "A source reports the greatest pain from 30 s to 90 s, although nothing is wrong.",
      seconds: 120,
      pain: [{30, 90, :false_alarm, 1.0}]
    }
  ]

  @doc "Returns the eight scenarios of the main table."
  @spec main() :: [t]
  def main, do: Enum.filter(all(), &(&1.key in ~w(a b c d e f g h)a))

  @doc "Returns the further scenarios: a retry storm, a store that stalls, a false signal."
  @spec further() :: [t]
  def further, do: Enum.filter(all(), &(&1.key in ~w(i j l)a))

  @doc "Returns all scenarios."
  @spec all() :: [t]
  def all, do: Enum.map(@scenarios, &struct!(__MODULE__, &1))

  @doc "Returns the scenario of this key, such as `:a`, or `nil`."
  @spec find(atom) :: t | nil
  def find(key), do: Enum.find(all(), &(&1.key == key))

  @doc "Returns its segments on a resource of this size. The seed decides the times of stalls."
  @spec segments(t, Size.t(), integer) :: [Segment.t()]
  def segments(%__MODULE__{key: key, seconds: seconds} = scenario, size, seed) do
    timeline =
      scenario.timeline || timeline(key, seconds, seed) || [{seconds, scenario.demand, []}]

    Enum.map(timeline, fn {until, demand, changes} ->
      struct!(
        %Segment{until_ms: until * 1_000, demand: demand * size.capacity},
        changes
      )
    end)
  end

  @doc "Returns the spans in seconds in which conditions differ from those at the start."
  @spec faults(t, Size.t(), integer) :: [{number, number}]
  def faults(%__MODULE__{} = scenario, size, seed) do
    [first | _] = segments = segments(scenario, size, seed)
    ends = for segment <- segments, do: segment.until_ms / 1_000
    normal? = &(%{&1 | until_ms: 0} == %{first | until_ms: 0})

    parts =
      [0 | ends]
      |> Enum.zip(Enum.zip(ends, segments))
      |> Enum.chunk_by(fn {_from, {_to, segment}} -> normal?.(segment) end)

    differing =
      for [{from, {_, segment}} | _] = part <- parts,
          not normal?.(segment),
          {_, {to, _}} = List.last(part),
          do: {from, to}

    differing ++ for {from, to, _source, _level} <- scenario.pain, do: {from, to}
  end

  # {end in seconds, demand / capacity, other fields of the segment}
  defp timeline(:a, seconds, _), do: [{30, 0.9, []}, {90, 0.9, speed: 0.5}, {seconds, 0.9, []}]
  defp timeline(:b, seconds, _), do: [{30, 0.8, []}, {60, 8.0, []}, {seconds, 0.8, []}]

  defp timeline(:p, seconds, _),
    do: [{30, 0.9, []}, {120, 0.9, workers: 0.25}, {seconds, 0.9, []}]

  # The capacity falls a little every second, until a restart.
  defp timeline(:c, seconds, _) do
    leak = for second <- 11..190, do: {second, 0.9, speed: 1.0 - 0.6 * (second - 10) / 180}
    [{10, 0.9, []}] ++ leak ++ [{220, 0.9, speed: 0.4}, {seconds, 0.9, []}]
  end

  defp timeline(:d, seconds, _) do
    for {until, part} <- Enum.with_index(Enum.to_list(20..seconds//20)) do
      {until, 0.9, speed: if(rem(part, 2) == 0, do: 1.0, else: 0.5)}
    end
  end

  defp timeline(:e, seconds, seed), do: stalls(0.0, seconds, :rand.seed_s(:exsss, seed + 7), 0.6)

  defp timeline(:f, seconds, _),
    do: [{30, 0.6, []}, {90, 0.6, extra_ms: 400.0}, {seconds, 0.6, []}]

  defp timeline(:g, seconds, _),
    do: [{30, 0.9, []}, {90, 0.9, workers: 0.75}, {seconds, 0.9, []}]

  defp timeline(:h, seconds, _), do: [{seconds, 2.0, []}]
  defp timeline(:i, seconds, _), do: [{30, 0.8, []}, {50, 0.8, speed: 0.4}, {seconds, 0.8, []}]

  # Each check waits for the store until its deadline; then the fallback decides.
  defp timeline(:j, seconds, _),
    do: [{40, 0.8, []}, {45, 0.8, check_ms: 100.0}, {seconds, 0.8, []}]

  defp timeline(:l, seconds, _), do: [{seconds, 0.8, []}]

  defp timeline(:steady, _seconds, _), do: nil

  # About every 15 seconds all workers stall for half a second.
  defp stalls(at, seconds, rand, demand) do
    {uniform, rand} = :rand.uniform_s(rand)
    start = at + 2.0 - 13.0 * :math.log(1.0 - uniform)

    if start + 0.5 >= seconds,
      do: [{seconds, demand, []}],
      else: [
        {start, demand, []},
        {start + 0.5, demand, speed: 0.0} | stalls(start + 0.5, seconds, rand, demand)
      ]
  end
end
