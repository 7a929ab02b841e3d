defmodule RateLimiter.Test do
  @moduledoc """
  Limiters and a clock of a test's own, for tests of code that is limited.

  A limiter that is started here belongs to the test process that starts it. The code under test goes on to say
  `:api`, and gets the test's `:api` when the test process runs it, or a process that the test process called or
  started (a `Task`, what is under `start_supervised/1`), or one that it allows with `allow/2`. Everybody else gets
  the limiter that the application started, if it did: tests may run with `async: true`, one test's keys and clock
  never touch another's, and production pays nothing for it.

      defmodule MyApp.ApiTest do
        use ExUnit.Case, async: true

        setup do
          RateLimiter.Test.start(limiters: [api: [windows: [burst: [limit: 2, per: :minute]]]])
        end

        test "the third request within a minute has to wait" do
          assert {200, _} = MyApp.Api.get("/", user: 1)
          assert {200, _} = MyApp.Api.get("/", user: 1)
          assert {429, _} = MyApp.Api.get("/", user: 1)

          RateLimiter.Test.advance({30, :second})
          assert {200, _} = MyApp.Api.get("/", user: 1)
        end
      end

  Time stands still until the test moves it. The limiters end with the test process, and nothing needs to be stopped.
  State is in memory, whatever the application's store is.
  """

  alias RateLimiter.{Instance, Sensors, Store, Test}
  alias RateLimiter.Core.{Limit, Options}
  alias RateLimiter.Instance.{Config, Writer}
  alias RateLimiter.Test.{Clock, Registry}

  @start DateTime.to_unix(~U[2025-01-01 00:00:00Z], :nanosecond)

  # 64 bits of nanoseconds since 1970 hold no more whole years.
  @latest DateTime.to_unix(~U[2554-01-01 00:00:00Z], :nanosecond)

  @doc """
  Starts limiters that belong to the calling process.

  Returns `:ok`. It may be called again, for more limiters under the same clock. The clock begins at
  2025-01-01 00:00:00 UTC, which matters to windows that are aligned to it.

  ## Options

    * `:limiters` - as for `RateLimiter.start_link/1`.
    * `:vsm` - as for `RateLimiter.start_link/1`, once. Their laws step when `advance/1` moves the clock over an interval, and
      have done so when it returns. Of the sensors, only those of your own are read.
    * `:name` - the instance for which these stand in: for this test, `RateLimiter.limiters/1`,
      `RateLimiter.add_limiter/3` and the other calls about that instance are about these. Default: `RateLimiter`.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [mail: [windows: [hourly: [limit: 1, per: :hour]]]])
      :ok
      iex> {:ok, _usage} = RateLimiter.check_and_track(:mail, "ann@example.org", :hourly)
      iex> {:error, :rate_limited, usage} = RateLimiter.check_and_track(:mail, "ann@example.org", :hourly)
      iex> usage.retry_after_ms
      3_600_000

  Wrong options, and a name that this test already uses, raise `ArgumentError`.
  """
  @spec start(keyword) :: :ok
  def start(options) do
    config = Config.new!(options, [:name, :limiters, :vsm])
    instance = own(config.name)
    for {name, limiter} <- config.limiters, do: Writer.change!(instance, {:add, name, limiter})
    if config.vsm, do: add_subsystems(instance, config.vsm), else: :ok
  end

  @doc """
  Lets `pid`, which the test neither called nor started, use the limiters of the test that `owner` belongs to.

  Returns `:ok`, also when that was allowed before. A process that belongs to another test raises `ArgumentError`.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [mail: [windows: [hourly: [limit: 1, per: :hour]]]])
      iex> worker = spawn(fn -> receive do: (:stop -> :ok) end)
      iex> RateLimiter.Test.allow(self(), worker)
      :ok
  """
  @spec allow(pid, pid) :: :ok
  def allow(owner, pid) when is_pid(owner) and is_pid(pid) do
    instance =
      Registry.instance(owner) ||
        raise ArgumentError, "#{inspect(owner)} has no limiters of its own to share"

    with {:error, {:already_registered, holder}} <- Test.Instance.allow(instance, pid),
         true <- holder != instance.writer do
      raise ArgumentError, "#{inspect(pid)} already belongs to another test"
    else
      _allowed -> :ok
    end
  end

  def allow(owner, other) do
    if is_pid(owner),
      do: Options.expected!([:allow], "a pid as the second argument", other),
      else: Options.expected!([:allow], "the pid of the test as the first argument", owner)
  end

  @doc """
  Moves the test's clock on, by milliseconds or by a period.

  Returns `:ok`. Nobody sleeps, and nothing but the test's own limiters sees it.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [])
      iex> RateLimiter.Test.advance({90, :second})
      :ok
      iex> RateLimiter.Test.advance(250)
      :ok
      iex> RateLimiter.Test.now()
      ~U[2025-01-01 00:01:30.250000Z]
  """
  @spec advance(non_neg_integer | Limit.period()) :: :ok
  def advance(duration) do
    ns = nanoseconds!(duration)
    clock = clock!()

    if Store.manual_clock_now(clock) + ns > @latest,
      do: Options.expected!([:advance], "no more than leads to the year 2554", duration)

    case Registry.instance() do
      %Instance{subsystems: nil} ->
        _now = Store.manual_clock_advance(clock, ns)
        :ok

      %Instance{subsystems: subsystems} ->
        Clock.advance(subsystems, clock, ns)
    end
  end

  @doc """
  Sets the test's clock: forwards, or backwards to see what a stale time does (it never gives anything back).

  Returns `:ok`. The clock goes from 1970 to 2554.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [])
      iex> RateLimiter.Test.set(~U[2025-12-31 23:59:59Z])
      :ok
      iex> RateLimiter.Test.now()
      ~U[2025-12-31 23:59:59.000000Z]
  """
  @spec set(DateTime.t()) :: :ok
  def set(%DateTime{} = time) do
    ns = DateTime.to_unix(time, :nanosecond)
    unless ns in 0..@latest, do: Options.expected!([:set], "a time from 1970 to 2554", time)
    _now = Store.manual_clock_set(clock!(), ns)
    :ok
  end

  def set(other), do: Options.expected!([:set], "a DateTime", other)

  @doc """
  The time on the test's clock.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [])
      iex> RateLimiter.Test.now()
      ~U[2025-01-01 00:00:00.000000Z]
  """
  @spec now() :: DateTime.t()
  def now, do: clock!() |> Store.manual_clock_now() |> DateTime.from_unix!(:nanosecond)

  # What is this process's own, or shared with it: what belongs to a test that called it is not its to add to.
  defp own(name) do
    case Registry.instance(self()) do
      %Instance{name: ^name} = instance ->
        instance

      %Instance{name: other} ->
        raise ArgumentError, "name: this test's limiters already stand in for #{inspect(other)}"

      nil ->
        begin(name)
    end
  end

  defp add_subsystems(instance, config) do
    own = Enum.reject(config.sensors, &Sensors.Config.built_in?/1)

    with :taken <- Test.Instance.add_subsystems(instance, %{config | sensors: own}),
         do: Options.misuse!([:vsm], "this test has subsystems already")
  end

  defp begin(name) do
    :ok = Test.Instance.start(self(), name, @start)
    Registry.instance(self())
  end

  defp clock! do
    case Registry.instance() do
      %Instance{clock: clock} ->
        clock

      nil ->
        raise ArgumentError,
              "this process belongs to no test with limiters: call RateLimiter.Test.start/1 in the test, or allow/2 this process"
    end
  end

  defp nanoseconds!(ms) when is_integer(ms) and ms >= 0, do: ms * 1_000_000

  defp nanoseconds!(period) do
    if Limit.period?(period),
      do: Limit.nanoseconds(period),
      else: Options.expected!([:advance], "milliseconds or a period", period)
  end
end
