defmodule Lab.Simulation.Service do
  @moduledoc false
  # The distributions of service times, as multiples of the mean: each has mean 1.

  @type law ::
          :constant
          | :exponential
          | {:erlang, pos_integer}
          | {:lognormal, number}
          | {:pareto, number}

  @doc "Returns one draw, and the next state of the generator."
  @spec draw(law, :rand.state()) :: {float, :rand.state()}
  def draw(:constant, rand), do: {1.0, rand}

  def draw(:exponential, rand) do
    {uniform, rand} = :rand.uniform_s(rand)
    {-:math.log(1.0 - uniform), rand}
  end

  def draw({:erlang, phases}, rand) do
    Enum.reduce(1..phases, {0.0, rand}, fn _phase, {sum, rand} ->
      {part, rand} = draw(:exponential, rand)
      {sum + part / phases, rand}
    end)
  end

  # `cv` is the coefficient of variation.
  def draw({:lognormal, cv}, rand) do
    {normal, rand} = :rand.normal_s(rand)
    variance = :math.log(1.0 + cv * cv)
    {:math.exp(normal * :math.sqrt(variance) - variance / 2), rand}
  end

  # The mean is finite for alpha > 1, the variance only for alpha > 2. A draw is at most 500 means.
  def draw({:pareto, alpha}, rand) do
    {uniform, rand} = :rand.uniform_s(rand)
    {min(500.0, (alpha - 1) / alpha / :math.pow(1.0 - uniform, 1 / alpha)), rand}
  end
end
