defmodule Lab.Simulation.Peers.Sre do
  @moduledoc false
  # Adaptive throttling at the client, as in "Site Reliability Engineering", chapter 21: over two minutes, a request
  # is dropped with probability max(0, (requests - K * accepts) / (requests + 1)), with K = 2. The requests
  # that it drops count as requests, too.
  use Lab.Simulation.Controller

  @seconds 120

  defstruct k: 2.0, requests: 0, accepts: 0, now: {0, 0, 0}, past: nil, rand: nil

  @impl true
  def new(setting),
    do: %__MODULE__{past: :queue.new(), rand: :rand.seed_s(:exsss, setting.seed + 5)}

  @impl true
  def admit(sre, now, _in_flight) do
    sre = sre |> forward(trunc(now / 1_000))
    {uniform, rand} = :rand.uniform_s(sre.rand)
    admitted = uniform >= drop_probability(sre)
    {admitted, nil, count(%{sre | rand: rand}, 1, 0)}
  end

  @impl true
  def finished(sre, %{outcome: :ok, now: now}),
    do: sre |> forward(trunc(now / 1_000)) |> count(0, 1)

  def finished(sre, _finished), do: sre

  @impl true
  def level(sre), do: 1.0 - drop_probability(sre)

  @doc "Returns the probability that the next request is dropped."
  def drop_probability(%{requests: requests, accepts: accepts, k: k}),
    do: max(0.0, (requests - k * accepts) / (requests + 1))

  defp count(%{now: {second, requests, accepts}} = sre, request, accept) do
    %{
      sre
      | requests: sre.requests + request,
        accepts: sre.accepts + accept,
        now: {second, requests + request, accepts + accept}
    }
  end

  defp forward(%{now: {second, _, _}} = sre, second), do: sre

  defp forward(sre, second),
    do: forget(%{sre | past: :queue.in(sre.now, sre.past), now: {second, 0, 0}}, second)

  defp forget(sre, second) do
    case :queue.peek(sre.past) do
      {:value, {old, requests, accepts}} when old <= second - @seconds ->
        sre = %{sre | requests: sre.requests - requests, accepts: sre.accepts - accepts}
        forget(%{sre | past: :queue.drop(sre.past)}, second)

      _recent ->
        sre
    end
  end
end
