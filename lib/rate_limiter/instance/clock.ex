defmodule RateLimiter.Instance.Clock do
  @moduledoc false
  # How far UTC and the monotonic clock have parted since an instance was started.
  #
  # Limits follow the monotonic clock, and aligned windows take the distance to UTC when their limiter is created. A suspend
  # of the machine, a restored snapshot, or a clock that is set later changes the distance.

  alias RateLimiter.Instance

  # More than a leap second.
  @tolerance_ms 2_000

  # A process that was suspended between two readings reads again.
  @reading_ms 100

  @doc "Returns UTC minus the operating system's monotonic clock, in milliseconds."
  @spec utc_ahead_ms() :: integer
  def utc_ahead_ms do
    [before, utc, later] =
      for source <- [:os_monotonic, :os_system, :os_monotonic],
          do: source |> time() |> System.convert_time_unit(:native, :millisecond)

    if later - before > @reading_ms, do: utc_ahead_ms(), else: utc - before
  end

  # Not the runtime's own monotonic time, which it makes faster or slower to approach a clock that was set.
  defp time(:os_monotonic), do: :erlang.system_info(:os_monotonic_time_source)[:time]
  defp time(:os_system), do: :erlang.system_info(:os_system_time_source)[:time]

  @doc "Returns by how many milliseconds UTC has gained on the monotonic clock; 0 within two seconds, and in tests."
  @spec apart_ms(Instance.t()) :: integer
  def apart_ms(%Instance{clock: :monotonic, utc_ahead_ms: start}) when is_integer(start) do
    apart = utc_ahead_ms() - start
    if abs(apart) > @tolerance_ms, do: apart, else: 0
  end

  def apart_ms(_test), do: 0

  @doc "Returns whether two distances differ by more than the readings do."
  @spec changed?(integer, integer) :: boolean
  def changed?(one, other), do: abs(one - other) > @tolerance_ms
end
