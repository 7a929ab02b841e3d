defmodule Lab.Simulation.Peers.Aws do
  @moduledoc false
  # The adaptive retry mode of the AWS SDKs: a client's own rate, cubic in the time since it was last throttled
  # (scale 0.4, beta 0.7), at most twice the rate measured in half seconds with a smoothing of 0.8. Its only
  # signal is throttling: here, a rejection by the resource. Their clients wait for a token; here a call without a token
  # is denied, as with every other controller.
  use Lab.Simulation.Controller

  @scale 0.4
  @half 0.5

  defstruct enabled: false,
            beta: 0.7,
            w_max: 0.0,
            k: 0.0,
            last_fail: 0.0,
            measured: 0.0,
            count: 0,
            bucket: 0.0,
            rate: 0.5,
            tokens: 1.0,
            at: 0.0

  @impl true
  def new(_setting), do: %__MODULE__{}

  @impl true
  def admit(%{enabled: false} = aws, _now, _in_flight), do: {true, nil, aws}

  def admit(aws, now, _in_flight) do
    now = now / 1_000
    # It holds the tokens of a second, and at least one.
    tokens = min(max(1.0, aws.rate), aws.tokens + (now - aws.at) * aws.rate)

    if tokens >= 1.0,
      do: {true, nil, %{aws | tokens: tokens - 1.0, at: now}},
      else: {false, nil, %{aws | tokens: tokens, at: now}}
  end

  @impl true
  def finished(aws, finished) do
    now = finished.now / 1_000
    aws = measure(aws, now)

    {aws, rate} =
      if finished.outcome == :rejected do
        from = if aws.enabled, do: min(aws.measured, aws.rate), else: aws.measured
        {aws, rate} = throttled(aws, from, now)
        {%{aws | enabled: true}, rate}
      else
        {aws, success(aws, now)}
      end

    %{aws | rate: rate |> min(2 * aws.measured) |> max(0.5)}
  end

  @impl true
  def level(%{enabled: false}), do: nil
  def level(aws), do: aws.rate

  @doc "Returns a state with a known last maximum rate."
  def cubic(w_max, beta \\ 0.7),
    do: %__MODULE__{beta: beta, w_max: w_max * 1.0, k: zero_point(w_max, beta)}

  @doc "Returns the rate after throttling at a rate."
  def throttled(aws, rate, now) do
    {%{aws | w_max: rate, k: zero_point(rate, aws.beta), last_fail: now}, rate * aws.beta}
  end

  @doc "Returns the rate at a time without throttling since."
  def success(aws, now), do: @scale * :math.pow(now - aws.last_fail - aws.k, 3) + aws.w_max

  @doc "Adds a response to the measured rate, at a time in seconds."
  def measure(aws, now) do
    bucket = Float.floor(now / @half) * @half
    count = aws.count + 1

    if bucket > aws.bucket do
      current = count / (bucket - aws.bucket)
      %{aws | measured: current * 0.8 + aws.measured * 0.2, count: 0, bucket: bucket}
    else
      %{aws | count: count}
    end
  end

  defp zero_point(rate, beta), do: :math.pow(rate * (1 - beta) / @scale, 1 / 3)
end
