defmodule RateLimiter.MetricsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Metrics
  alias RateLimiter.Support.Exposition

  @windows [burst: [limit: 3, per: :day], slow: [limit: 9, per: :day]]

  setup context do
    name = {__MODULE__, context.test}
    limiter = :"metrics #{context.test}"
    limiters = [{limiter, windows: @windows, threshold: 0.8}]
    start_supervised!({RateLimiter, name: name, limiters: limiters, vsm: true})
    [name: name, limiter: limiter]
  end

  defp value(series, name, labels) do
    labels = Map.new(labels, fn {key, value} -> {"#{key}", "#{value}"} end)

    [value] =
      for {{^name, own}, value} <- series, Map.take(own, Map.keys(labels)) == labels, do: value

    value
  end

  describe "prometheus/1" do
    test "raises if the instance is not running" do
      assert_raise ArgumentError, ~r/not running/, fn -> Metrics.prometheus(:none) end
    end
  end

  describe "prometheus/0" do
    test "has all instances of the node as one text", %{name: name, limiter: limiter} do
      other = {__MODULE__, :other, make_ref()}
      start_supervised!(Supervisor.child_spec({RateLimiter, name: other}, id: :other))
      series = Exposition.parse!(Metrics.prometheus())
      assert value(series, "rate_limiter_healthy", name: inspect(name)) == 1
      assert value(series, "rate_limiter_healthy", name: inspect(other)) == 1
      assert value(series, "rate_limiter_keys", limiter: limiter) == 0
    end
  end

  test "as a plug, it sends the text, and takes no options", %{limiter: limiter} do
    conn = Metrics.call(RateLimiter.Support.Web.conn(), Metrics.init([]))
    assert conn.status == 200
    type = RateLimiter.Support.Web.header(conn, "content-type")
    assert type == "text/plain; version=0.0.4; charset=utf-8"
    series = Exposition.parse!(conn.resp_body)
    assert value(series, "rate_limiter_keys", limiter: limiter) == 0
    assert_raise FunctionClauseError, fn -> Metrics.init(instance: :some) end
  end

  test "promtool accepts the text and its names", %{name: name, limiter: limiter} do
    RateLimiter.check_and_track(limiter, "u")
    path = Path.join(System.tmp_dir!(), "metrics_#{System.unique_integer([:positive])}")
    File.write!(path, Metrics.prometheus(name))
    on_exit(fn -> File.rm(path) end)
    assert System.cmd("sh", ["-c", "promtool check metrics < #{path} 2>&1"]) == {"", 0}
  end

  describe "definitions/0" do
    test "add up to what the core has counted", %{limiter: limiter} do
      sums = :ets.new(:sums, [:public])
      id = {__MODULE__, make_ref()}
      metrics = Metrics.definitions()
      events = metrics |> Enum.map(& &1.event_name) |> Enum.uniq()
      :ok = :telemetry.attach_many(id, events, &__MODULE__.report/4, {sums, metrics})
      on_exit(fn -> :telemetry.detach(id) end)
      name = {__MODULE__, :reporting, make_ref()}
      counted = :"#{limiter} reported"

      start_supervised!(
        Supervisor.child_spec(
          {RateLimiter,
           name: name, stats_interval: 1, limiters: [{counted, windows: @windows, threshold: 0.8}]},
          id: :reporting
        )
      )

      for _ <- 1..7, do: RateLimiter.check_and_track(counted, "u", :burst)

      eventually(fn -> sum(sums, "rate_limiter.checks.total", counted) == 7 end)
      assert sum(sums, "rate_limiter.violations.total", counted) == 4
      assert sum(sums, "rate_limiter.near_limit.total", counted) == 1
      assert sum(sums, "rate_limiter.fallback.usage", counted) == 0
      eventually(fn -> sum(sums, "rate_limiter.keys", counted) == 1 end)
      assert sum(sums, "rate_limiter.memory.bytes", counted) > 0
      assert sum(sums, "rate_limiter.overflowed.total", counted) == 0
    end

    test "measure Redis, breakers and adaptations by their events" do
      by_name = Map.new(Metrics.definitions(), &{Enum.join(&1.name, "."), &1})
      command = by_name["redis.command.duration"]
      assert command.unit == :second and command.tags == [:server, :result]
      assert_in_delta command.measurement.(%{duration_us: 1_500}), 0.0015, 1.0e-9
      trips = by_name["circuit_breaker.trips.total"]
      assert trips.event_name == [:rate_limiter, :circuit_breaker, :opened]
      assert trips.keep.(%{from: :closed}) and not trips.keep.(%{from: :half_open})
      adaptations = by_name["vsm.rate_limiter.adaptations"]
      assert adaptations.event_name == [:rate_limiter, :vsm, :adaptation]
      assert adaptations.tags == [:subsystem, :action]
    end
  end

  # What a reporter does with definitions.
  @doc false
  def report(event, measurements, metadata, {sums, metrics}) do
    for %kind{event_name: ^event} = metric <- metrics,
        metric.keep == nil or metric.keep.(metadata) do
      value =
        case metric.measurement do
          fun when is_function(fun, 1) -> fun.(measurements)
          key -> Map.fetch!(measurements, key)
        end

      key = {Enum.join(metric.name, "."), Map.get(metadata, :limiter), Map.get(metadata, :window)}

      if kind == Telemetry.Metrics.LastValue,
        do: :ets.insert(sums, {key, value}),
        else: :ets.update_counter(sums, key, round(value), {key, 0})
    end
  end

  defp sum(sums, name, limiter),
    do: sums |> :ets.match({{name, limiter, :_}, :"$1"}) |> List.flatten() |> Enum.sum()

  defp eventually(condition), do: RateLimiter.Support.Eventually.eventually(condition)
end
