defmodule RateLimiter.Sensors.Reading do
  @moduledoc false
  # One look at a sensor. Whatever it does, the one who looks goes on: what raises, exits or takes too long is no
  # opinion.

  alias RateLimiter.Adaptive.Stress
  alias RateLimiter.Sensors.{Memory, RunQueue, Schedulers, Timer}

  @deadline_ms 500
  # Where time is moved by hand, a machine that stands still for a moment changes nothing.
  @still_deadline_ms 30_000
  @own [Memory, RunQueue, Schedulers, Timer]

  # More is not to be reckoned with.
  @most 1.0e300

  @type t :: {:ok, number} | {:no_opinion, String.t()}

  @doc "How long a sensor may take: `live?` where time passes by itself."
  @spec deadline_ms(live? :: boolean) :: pos_integer
  def deadline_ms(true), do: @deadline_ms
  def deadline_ms(false), do: @still_deadline_ms

  @doc "What a sensor begins with, or why it does not."
  @spec begin(module, keyword) :: {:ok, term} | {:failed, String.t()}
  def begin(module, options), do: caught(fn -> {:ok, module.init(options)} end)

  @doc "The reading, and the sensor's new state; after a failure it begins anew with the old one."
  @spec take(module, term, pos_integer) :: {t, term}
  def take(module, state, deadline_ms \\ @deadline_ms) do
    case measure(module, state, deadline_ms) do
      {:ok, value, state} when is_number(value) and abs(value) <= @most -> {{:ok, value}, state}
      {:no_opinion, why, state} -> {{:no_opinion, words(why)}, state}
      {:failed, why} -> {{:no_opinion, why}, state}
      other -> {{:no_opinion, "expected a reading, got: #{inspect(other, limit: 5)}"}, state}
    end
  end

  @doc "A reading as it is reported."
  @spec report(t, {number, number, number}) :: map
  def report({:ok, value}, thresholds),
    do: %{value: value, stress: Stress.level(value, thresholds), no_opinion: nil}

  def report({:no_opinion, why}, _thresholds), do: %{value: nil, stress: nil, no_opinion: why}

  defp words(why), do: if(is_binary(why), do: why, else: inspect(why, limit: 5))

  # The runtime's own numbers come at once, and some belong to the process that asks.
  defp measure(module, state, _deadline_ms) when module in @own,
    do: caught(fn -> module.measure(state) end)

  defp measure(module, state, deadline_ms), do: apart(module, state, deadline_ms)

  defp apart(module, state, deadline_ms) do
    {pid, ref} =
      spawn_monitor(fn -> exit({:measured, caught(fn -> module.measure(state) end)}) end)

    receive do
      {:DOWN, ^ref, :process, _pid, {:measured, answer}} ->
        answer

      {:DOWN, ^ref, :process, _pid, reason} ->
        {:failed, "it exited: #{inspect(reason, limit: 5)}"}
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
    kind, reason -> {:failed, "#{kind}: #{inspect(reason, limit: 5)}"}
  end
end
