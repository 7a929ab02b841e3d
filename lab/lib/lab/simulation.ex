defmodule Lab.Simulation do
  @moduledoc false
  # The control law beside those of others, on the same arrivals, for `mix simulate` and `bench/adaptive.exs`. A cell is
  # one controller in one scenario on one size of resource; its score is the mean over the seeds.

  alias Lab.Simulation.{Controllers, Grammar, Plant, Scenario, Score, Shared, Size}

  @enforce_keys [:controller, :scenario, :size, :score]
  defstruct [:controller, :scenario, :size, :score, decisions: []]

  @type cell :: %__MODULE__{
          controller: Controllers.controller(),
          scenario: Scenario.t(),
          size: Size.t(),
          score: Score.t(),
          decisions: [{float, RateLimiter.Adaptive.Decision.t()}]
        }
  @type options :: [
          scenarios: [Scenario.t()],
          sizes: [Size.t()],
          controllers: [Controllers.controller()],
          seeds: [integer],
          law: Lab.Simulation.Service.law(),
          target: boolean,
          jobs: pos_integer
        ]

  @priorities %{
    key: :p,
    title: "a quarter of capacity, shared",
    seconds: 150,
    overload: {30, 120}
  }

  @doc "Returns every cell of these options, in the order of controllers, sizes and scenarios."
  @spec run(options) :: [cell]
  def run(options) do
    cells =
      for controller <- options[:controllers],
          size <- options[:sizes],
          scenario <- options[:scenarios] do
        {controller, size, scenario}
      end

    each(cells, options, &cell(&1, options))
  end

  @doc "Returns the random cells of these numbers, for each controller of the options."
  @spec random(Enumerable.t(), options) :: [cell]
  def random(numbers, options) do
    cells = for number <- numbers, controller <- options[:controllers], do: {number, controller}

    each(cells, options, fn {number, controller} ->
      {scenario, size, law} = Grammar.cell(number)
      cell({controller, size, scenario}, Keyword.put(options, :law, law))
    end)
  end

  defp each(cells, options, fun) do
    cells
    |> Task.async_stream(fun,
      timeout: :infinity,
      ordered: true,
      max_concurrency: options[:jobs] || System.schedulers_online()
    )
    |> Enum.map(fn {:ok, cell} -> cell end)
  end

  @doc "Returns the seconds of one cell, and its decisions."
  @spec trace(Controllers.controller(), Scenario.t(), Size.t(), Plant.options()) ::
          {[Lab.Simulation.Second.t()], [{float, RateLimiter.Adaptive.Decision.t()}]}
  def trace({_key, _title, module}, scenario, size, options) do
    {seconds, state} = Plant.run(module, scenario, size, options)
    {seconds, Enum.reverse(module.decisions(state))}
  end

  @doc """
  Returns the share of its calls that each subsystem keeps when a quarter of the capacity is left: with shares by priority
  and with one scale for all; from the fall on, and from ten seconds later.
  """
  @spec priorities(Size.t(), Plant.options()) :: %{atom => [{atom, float, float}]}
  def priorities(size, options) do
    scenario = struct!(Scenario, @priorities)
    {from, to} = scenario.overload

    for {name, module} <- [priority: Shared, uniform: Shared.Uniform], into: %{} do
      {_seconds, state} = Plant.run(module, scenario, size, options)

      {name,
       for class <- [:s1, :s2, :s3, :s4, :s5] do
         {class, Shared.success(state, class, {from, to}),
          Shared.success(state, class, {from + 10, to})}
       end}
    end
  end

  defp cell({controller, size, scenario}, options) do
    {scores, decisions} =
      options[:seeds]
      |> Enum.map(fn seed ->
        plant = [seed: seed, law: options[:law], target: options[:target] || false]
        {seconds, decisions} = trace(controller, scenario, size, plant)
        {Score.of(seconds, scenario), decisions}
      end)
      |> Enum.unzip()

    %__MODULE__{
      controller: controller,
      scenario: scenario,
      size: size,
      score: Score.mean(scores),
      decisions: Enum.concat(decisions)
    }
  end
end
