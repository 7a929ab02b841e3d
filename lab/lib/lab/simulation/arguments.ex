defmodule Lab.Simulation.Arguments do
  @moduledoc false
  # The command line of `mix simulate`.

  alias Lab.Simulation.{Controllers, Scenario, Service, Size}
  alias RateLimiter.Terminal.CommandLine

  @switches [
    seeds: :string,
    scenario: :keep,
    size: :keep,
    only: :keep,
    service: :string,
    target: :boolean,
    further: :boolean,
    held_out: :boolean,
    random: :integer,
    quick: :boolean,
    html: :string,
    jobs: :integer,
    help: :boolean
  ]
  @aliases [h: :help]

  @laws %{
    "constant" => :constant,
    "erlang" => {:erlang, 4},
    "exponential" => :exponential,
    "lognormal" => {:lognormal, 2.0}
  }

  @doc "Returns the options of `Lab.Simulation.run/1` with `:html`, or what is invalid."
  @spec parse([String.t()]) :: {:ok, keyword} | :help | {:error, String.t()}
  def parse(argv) do
    with {:ok, given} <- CommandLine.options(argv, @switches, @aliases), do: options(given)
  end

  defp options(given) do
    with {:ok, seeds} <- seeds(given),
         {:ok, law} <- law(given[:service]),
         {:ok, scenarios} <- scenarios(given),
         {:ok, sizes} <- sizes(given),
         {:ok, controllers} <- controllers(given),
         :ok <- positive(given[:jobs], "jobs"),
         :ok <- positive(given[:random], "random"),
         :ok <- one_cell(given[:html], scenarios, sizes) do
      {:ok,
       [
         seeds: seeds,
         law: law,
         scenarios: scenarios,
         sizes: sizes,
         controllers: controllers,
         target: given[:target] || false,
         quick: given[:quick] || false,
         random: given[:random],
         jobs: given[:jobs],
         html: given[:html]
       ]}
    end
  end

  defp seeds(given) do
    text = given[:seeds] || if given[:quick], do: "1", else: "1,2,3"
    parsed = text |> String.split(",") |> Enum.map(&Integer.parse/1)

    if Enum.all?(parsed, &match?({_seed, ""}, &1)),
      do: {:ok, Enum.map(parsed, &elem(&1, 0))},
      else: {:error, "--seeds: expected whole numbers with commas, such as 1,2,3, got: #{text}"}
  end

  @spec law(String.t() | nil) :: {:ok, Service.law()} | {:error, String.t()}
  defp law(nil), do: {:ok, :exponential}

  defp law(name) do
    with :error <- Map.fetch(@laws, name) do
      {:error, "--service: expected one of #{names(Map.keys(@laws))}, got: #{name}"}
    end
  end

  defp scenarios(given) do
    usual = if given[:further], do: Scenario.main() ++ Scenario.further(), else: Scenario.main()
    all = Scenario.all()

    pick(
      given,
      :scenario,
      usual,
      fn key -> Enum.find(all, &(to_string(&1.key) == String.downcase(key))) end,
      "a to j, or l"
    )
  end

  defp sizes(given) do
    usual =
      cond do
        given[:held_out] -> Size.held_out()
        given[:quick] -> [Size.nominal()]
        true -> Size.listed()
      end

    known = Enum.map(Size.listed() ++ Size.held_out(), & &1.name)
    pick(given, :size, usual, &Size.find/1, "one of #{names(known)}")
  end

  defp controllers(given) do
    known = Enum.map(Controllers.controllers(), fn {key, _title, _module} -> to_string(key) end)

    pick(
      given,
      :only,
      Controllers.controllers(),
      fn name ->
        Enum.find(Controllers.controllers(), fn {key, _title, _module} ->
          to_string(key) == name
        end)
      end,
      "one of #{names(known)}"
    )
  end

  defp pick(given, switch, usual, find, expected) do
    case Keyword.get_values(given, switch) do
      [] -> {:ok, usual}
      names -> found(Enum.map(names, &{&1, find.(&1)}), switch, expected)
    end
  end

  defp found(pairs, switch, expected) do
    case Enum.find(pairs, fn {_name, found} -> found == nil end) do
      nil -> {:ok, Enum.map(pairs, &elem(&1, 1))}
      {name, nil} -> {:error, "--#{switch}: expected #{expected}, got: #{name}"}
    end
  end

  defp positive(nil, _switch), do: :ok
  defp positive(number, _switch) when number > 0, do: :ok

  defp positive(number, switch),
    do: {:error, "--#{switch}: expected a positive number, got: #{number}"}

  defp one_cell(nil, _scenarios, _sizes), do: :ok
  defp one_cell(_html, [_], [_]), do: :ok

  defp one_cell(_html, _, _),
    do: {:error, "--html: expected one --scenario and one --size with it"}

  defp names(names), do: Enum.join(names, ", ")
end
