defmodule RateLimiter.Sensors.Reading do
  @moduledoc false
  # One reading of a sensor. A sensor that raises, exits or takes too long has no opinion and does not disturb the monitor.

  alias RateLimiter.Adaptive.Stress
  alias RateLimiter.Core.Options
  alias RateLimiter.Sensors.{Memory, RunQueue, Schedulers, Timer}

  @deadline_ms 500
  # Under a test's clock, a machine that stands still for a moment must not change a reading.
  @test_deadline_ms 30_000
  @in_process [Memory, RunQueue, Schedulers, Timer]

  # Larger values would overflow.
  @max 1.0e300

  @type t :: {:ok, number} | {:no_opinion, String.t()}

  @doc "Returns how long a sensor may take."
  @spec deadline_ms(real_time? :: boolean) :: pos_integer
  def deadline_ms(true), do: @deadline_ms
  def deadline_ms(false), do: @test_deadline_ms

  @doc "Returns a sensor's initial state, or why it could not be initialised."
  @spec init(module, keyword) :: {:ok, term} | {:failed, String.t()}
  def init(module, options), do: caught(fn -> {:ok, module.init(options)} end)

  @doc "Returns a reading and the sensor's next state. After a failure the state is unchanged."
  @spec take(module, term, pos_integer) :: {t, term}
  def take(module, state, deadline_ms \\ @deadline_ms) do
    case measure(module, state, deadline_ms) do
      {:ok, value, state} when is_number(value) and abs(value) <= @max ->
        {{:ok, value}, state}

      {:no_opinion, reason, state} ->
        {{:no_opinion, text(reason)}, state}

      {:failed, reason} ->
        {{:no_opinion, reason}, state}

      other ->
        {{:no_opinion, "expected a reading, got: #{Options.show(other)}"}, state}
    end
  end

  @doc "Returns a reading as in `RateLimiter.Health.report/1`."
  @spec report(t, Stress.curve()) :: map
  def report({:ok, value}, thresholds),
    do: %{value: value, stress: Stress.level(value, thresholds), no_opinion: nil}

  def report({:no_opinion, reason}, _thresholds),
    do: %{value: nil, stress: nil, no_opinion: reason}

  defp text(reason), do: if(is_binary(reason), do: reason, else: Options.show(reason))

  # The runtime's own numbers are available at once, and some belong to the calling process.
  defp measure(module, state, _deadline_ms) when module in @in_process,
    do: caught(fn -> module.measure(state) end)

  defp measure(module, state, deadline_ms) do
    {pid, ref} =
      spawn_monitor(fn -> exit({:measured, caught(fn -> module.measure(state) end)}) end)

    receive do
      {:DOWN, ^ref, :process, _pid, {:measured, answer}} ->
        answer

      {:DOWN, ^ref, :process, _pid, reason} ->
        {:failed, "it exited: #{Options.show(reason)}"}
    after
      deadline_ms ->
        Process.exit(pid, :kill)
        Process.demonitor(ref, [:flush])
        {:failed, "it took longer than #{deadline_ms} ms"}
    end
  end

  defp caught(fun) do
    fun.()
  rescue
    error -> {:failed, "it raised #{inspect(error.__struct__)}: #{Exception.message(error)}"}
  catch
    kind, reason -> {:failed, "#{kind}: #{Options.show(reason)}"}
  end
end
