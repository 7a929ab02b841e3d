defmodule RateLimiter.Test do
  @moduledoc """
  Limiters and a clock for one test, for tests of code that is limited.

  Limiters that a test starts here belong to the test process. The code under test uses the same names, such as
  `:api`, and gets the limiters of the test if it runs in the test process, in a process that the test process called
  or started (a `Task`, a child of `start_supervised/1`), or in one that is allowed with `allow/2`. Any other process
  gets the limiters of the application. So tests may run with `async: true`, a test does not see the usage and the
  clock of another, and production code pays nothing for it.

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

  Limiters that `setup_all` starts belong to the process of the module, which the tests share with its clock, if each of
  them is allowed: `setup_all` returns `%{owner: self()}`, and `setup` calls `RateLimiter.Test.allow(owner, self())`.

  The clock stands still until the test moves it. The limiters end with the test process, and do not have to be stopped.
  Usage is counted in memory, independent of the application's store.
  """

  alias RateLimiter.{Instance, Sensors, Store, Test}
  alias RateLimiter.Core.{Limit, Options}
  alias RateLimiter.Instance.{Config, Writer}
  alias RateLimiter.Test.{Clock, Registry}

  @start DateTime.to_unix(~U[2025-01-01 00:00:00Z], :nanosecond)

  # The last full year in 64 bits of nanoseconds since 1970.
  @latest DateTime.to_unix(~U[2554-01-01 00:00:00Z], :nanosecond)

  @doc """
  Starts limiters that belong to the calling process.

  Returns `:ok`. Further calls add limiters with the same clock. The clock starts at 2025-01-01 00:00:00 UTC, which
  matters to aligned windows.

  ## Options

    * `:limiters` - as for `RateLimiter.start_link/1`.
    * `:vsm` - as for `RateLimiter.start_link/1`, once in a test. The laws step when `advance/1` moves the clock over an
      interval, before it returns. Only sensors of your own are read.
    * `:name` - the instance that the limiters replace: in this test, `RateLimiter.limiters/1`,
      `RateLimiter.add_limiter/3` and the other calls on that instance use these limiters. Default: `RateLimiter`.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [mail: [windows: [hourly: [limit: 1, per: :hour]]]])
      :ok
      iex> {:ok, _usage} = RateLimiter.check_and_track(:mail, "ann@example.org", :hourly)
      iex> {:error, :rate_limited, usage} = RateLimiter.check_and_track(:mail, "ann@example.org", :hourly)
      iex> usage.retry_after_ms
      3_600_000

  Raises `ArgumentError` if an option is invalid or the test already has a limiter of this name.
  """
  @spec start(keyword) :: :ok
  def start(options) do
    config = Config.new!(options, [:name, :limiters, :vsm])
    instance = own(config.name)
    for {name, limiter} <- config.limiters, do: Writer.change!(instance, {:add, name, limiter})
    if config.vsm, do: add_subsystems(instance, config.vsm), else: :ok
  end

  @doc """
  Lets a process that the test neither called nor started use the limiters of the test process `owner`.

  Returns `:ok`, also if it was allowed before. Raises `ArgumentError` if the process belongs to another test.

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
        raise ArgumentError,
              "allow: expected a test process with limiters, got: #{inspect(owner)}"

    with {:error, {:already_registered, holder}} <- Test.Instance.allow(instance, pid),
         true <- holder != instance.writer do
      raise ArgumentError, "allow: #{inspect(pid)} already belongs to another test"
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
  Moves the clock of the test forward, by milliseconds or by a period.

  Returns `:ok`, without sleeping. Only the limiters of the test use this clock.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [])
      iex> RateLimiter.Test.advance({90, :second})
      :ok
      iex> RateLimiter.Test.advance(250)
      :ok
      iex> RateLimiter.Test.now()
      ~U[2025-01-01 00:01:30.250000Z]
  """
  @spec advance(non_neg_integer | RateLimiter.period()) :: :ok
  def advance(duration) do
    ns = nanoseconds!(duration)
    clock = clock!()

    if Store.manual_clock_now(clock) + ns > @latest,
      do: Options.expected!([:advance], "a duration that ends before the year 2554", duration)

    case Registry.instance() do
      %Instance{subsystems: nil} ->
        _now = Store.manual_clock_advance(clock, ns)
        :ok

      %Instance{subsystems: subsystems} ->
        Clock.advance(subsystems, clock, ns)
    end
  end

  @doc """
  Sets the clock of the test, forward or backward. A step backward never frees anything.

  Returns `:ok`. The time may be from 1970 to 2554.

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
  Returns the time of the clock of the test.

  ## Examples

      iex> RateLimiter.Test.start(limiters: [])
      iex> RateLimiter.Test.now()
      ~U[2025-01-01 00:00:00.000000Z]
  """
  @spec now() :: DateTime.t()
  def now, do: clock!() |> Store.manual_clock_now() |> DateTime.from_unix!(:nanosecond)

  # The instance of this process. Limiters are not added to the instance of a test that called this process.
  defp own(name) do
    case Registry.instance(self()) do
      %Instance{name: ^name} = instance ->
        instance

      %Instance{name: other} ->
        raise ArgumentError,
              "name: expected #{Options.show(other)}, which the limiters of this test already replace, got: #{Options.show(name)}"

      nil ->
        begin(name)
    end
  end

  defp add_subsystems(instance, config) do
    own = Enum.reject(config.sensors, &Sensors.Config.built_in?/1)

    with :taken <- Test.Instance.add_subsystems(instance, %{config | sensors: own}),
         do:
           Options.misuse!(
             [:vsm],
             "expected one call with :vsm, but this test already has subsystems"
           )
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
              "this process does not belong to a test with limiters. " <>
                "Call RateLimiter.Test.start/1 in the test, or allow/2 for this process"
    end
  end

  defp nanoseconds!(ms) when is_integer(ms) and ms >= 0, do: ms * 1_000_000

  defp nanoseconds!(period) do
    if Limit.period?(period),
      do: Limit.nanoseconds(period),
      else: Options.expected!([:advance], "milliseconds or a period", period)
  end
end
