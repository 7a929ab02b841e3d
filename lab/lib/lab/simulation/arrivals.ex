defmodule Lab.Simulation.Arrivals do
  @moduledoc false
  # The times of calls and the work of each. They depend on the seed and the scenario only, so every controller gets the
  # same calls.

  alias Lab.Simulation.Service

  @enforce_keys [:rand, :law, :mean_ms]
  defstruct [:rand, :law, :mean_ms]

  @type t :: %__MODULE__{}

  @doc "Returns the arrivals of a seed."
  @spec new(integer, Service.law(), float) :: t
  def new(seed, law, mean_ms),
    do: %__MODULE__{rand: :rand.seed_s(:exsss, seed), law: law, mean_ms: mean_ms}

  @doc "Returns the time of the next call at this demand."
  @spec next(t, float, number) :: {float | :infinity, t}
  def next(arrivals, _now, demand) when demand <= 0, do: {:infinity, arrivals}

  def next(arrivals, now, demand) do
    {uniform, rand} = :rand.uniform_s(arrivals.rand)
    {now - :math.log(1.0 - uniform) * 1_000 / demand, %{arrivals | rand: rand}}
  end

  @doc "Returns the work of the next call, in milliseconds of one worker."
  @spec work(t) :: {float, t}
  def work(arrivals) do
    {multiple, rand} = Service.draw(arrivals.law, arrivals.rand)
    {multiple * arrivals.mean_ms, %{arrivals | rand: rand}}
  end
end
