defmodule RateLimiter.Health.StoreTest do
  # The sensor of a real Redis that stops and restarts.
  use ExUnit.Case, async: true

  alias RateLimiter.{Health, Instance, VSM}
  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.Support.Redis
  alias RateLimiter.Test.Clock
  alias RateLimiter.Top.{Page, Snapshot}
  alias RateLimiter.VSM.Tree

  @moduletag :capture_log

  # The only sensor, read by the test alone.
  @vsm [
    interval: 86_400_000,
    sensors: [schedulers: false, run_queue: false, timer: false, memory: false],
    subsystems: [a: [limit: 10, per: :day, law: Fixed]]
  ]

  defp start!(context) do
    server = Redis.start!()

    start_supervised!(
      {RateLimiter,
       name: context.test,
       store: {:redis, url: Redis.url(server), timeout: 5_000},
       limiters: [{context.test, windows: [w: [limit: 100, per: :day]]}],
       vsm: @vsm}
    )

    Redis.ready!(context.test, :w)
    server
  end

  # Reads the sensor until its stress is as expected.
  defp await_stress(name, stress) do
    Redis.eventually(fn ->
      Clock.step({:monitor, Tree.fetch!(name)})
      Health.report(name).store.stress == stress
    end)
  end

  defp page(name) do
    now = Snapshot.take()
    instances = Enum.filter(now.instances, &(&1.name == inspect(name)))
    now = %{now | instances: instances}
    now |> Page.render(now, %{color: false, unicode: true}) |> IO.iodata_to_binary()
  end

  test "an outage of Redis is explained once and reduces no limit", %{test: name} = context do
    server = start!(context)
    await_stress(name, 0.0)
    assert VSM.explain(:a, name) == []
    assert page(name) =~ ~r/^nodes 1, 0 calls\/s, 0 batches\/s, 0 timeouts\/s, 0 refused\/s$/m
    assert page(name) =~ ~r/^  127\.0\.0\.1:\d+  breaker closed, connections \d+, pending \d+$/m

    :ok = Redis.kill(server)
    await_stress(name, 1.0)
    for _ <- 1..3, do: Clock.step({:monitor, Tree.fetch!(name)})

    assert [%{subsystem: nil, action: :hold, held_by: :store, from: 1.0, to: 1.0} = entry] =
             VSM.explain(:a, name)

    assert entry.sentence ==
             "Redis did not answer 100 % of requests: this node counts them itself, and no limit is reduced."

    assert %{a: %{open: 1.0, scale: 1.0}} = VSM.subsystem_metrics(name)
    assert page(name) =~ ~r/^  127\.0\.0\.1:\d+  breaker (open|half open|closed), .*: \S+/m

    Redis.restart!(server)
    await_stress(name, 0.0)

    assert [%{sentence: "Redis answers all requests again."}, ^entry] = VSM.explain(:a, name)

    # Repeated outages stay two entries.
    for steps <- 2..3 do
      :ok = Redis.kill(server)
      await_stress(name, 1.0)
      Redis.restart!(server)
      await_stress(name, 0.0)

      assert [%{steps: ^steps, stress: +0.0}, %{steps: ^steps, stress: 1.0}] =
               VSM.explain(:a, name)
    end
  end

  test "an instance with a local store has no store sensor" do
    assert Instance.Config.new!(vsm: @vsm).vsm.sensors == []
    assert [{:store, _, _, _}] = Instance.Config.new!(store: {:redis, []}, vsm: @vsm).vsm.sensors

    none = put_in(@vsm[:sensors][:store], false)
    assert Instance.Config.new!(store: {:redis, []}, vsm: none).vsm.sensors == []
  end
end
