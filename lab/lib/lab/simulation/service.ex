defmodule Lab.Simulation.Service do
  @moduledoc false
  # How long a call's work takes, as a multiple of the mean: every law here has mean 1.

  @type law ::
          :constant
          | :exponential
          | {:erlang, pos_integer}
          | {:lognormal, number}
          | {:pareto, number}

  @doc "One draw; the generator's next state comes with it."
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

  # By its coefficient of variation.
  def draw({:lognormal, cv}, rand) do
    {normal, rand} = :rand.normal_s(rand)
    variance = :math.log(1.0 + cv * cv)
    {:math.exp(normal * :math.sqrt(variance) - variance / 2), rand}
  end

  # Its mean is finite from alpha > 1 on, its variance only from alpha > 2 on. The draw is cut off at 500 means.
  def draw({:pareto, alpha}, rand) do
    {uniform, rand} = :rand.uniform_s(rand)
    {min(500.0, (alpha - 1) / alpha / :math.pow(1.0 - uniform, 1 / alpha)), rand}
  end
end
