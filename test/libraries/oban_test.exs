defmodule RateLimiter.Libraries.ObanTest do
  # The worker of the guide in a real Oban, with its engine for SQLite: see CONTRIBUTING.md.
  use ExUnit.Case

  alias RateLimiter.Support.Documents.Session

  @moduletag :libraries

  @repo RateLimiter.Libraries.ObanTest.Repo

  setup do
    unless Code.ensure_loaded?(MyApp.Invoices), do: Session.define("guides/http.md")

    unless Code.ensure_loaded?(@repo) do
      Code.eval_string("""
      defmodule #{inspect(@repo)} do
        use Ecto.Repo, otp_app: :rate_limiter, adapter: Ecto.Adapters.SQLite3
      end

      defmodule #{inspect(@repo)}.Jobs do
        use Ecto.Migration
        def up, do: Oban.Migration.up()
        def down, do: Oban.Migration.down()
      end
      """)
    end

    for app <- [:db_connection, :ecto, :ecto_sql, :ecto_sqlite3, :oban],
        do: {:ok, _} = Application.ensure_all_started(app)

    # One connection, which has the database.
    start_supervised!({@repo, database: ":memory:", pool_size: 1, log: false})
    apply(Ecto.Migrator, :up, [@repo, 1, :"#{@repo}.Jobs", [log: false]])
    options = [repo: @repo, engine: Oban.Engines.Lite, testing: :manual, log: false]
    start_supervised!({Oban, options})
    RateLimiter.Test.start(limiters: [mail: [windows: [w: [limit: 1, per: :hour]]]])
    :ok
  end

  defp insert(account) do
    {:ok, job} = apply(Oban, :insert, [apply(MyApp.Invoices, :new, [%{account: account}])])
    job.id
  end

  # The jobs run in the process of the test, which owns the limiter and its clock.
  defp drain(options \\ []), do: apply(Oban, :drain_queue, [[queue: :invoices] ++ options])

  defp job(id), do: apply(@repo, :get!, [Oban.Job, id])

  test "a denied job is scheduled for when it can be admitted, and keeps its attempts" do
    [first, second] = for _ <- 1..2, do: insert("ann")
    before = job(second)
    assert %{success: 1, snoozed: 1, failure: 0} = drain()
    assert %{state: "completed"} = job(first)
    denied = job(second)
    assert denied.state == "scheduled"
    assert DateTime.diff(denied.scheduled_at, DateTime.utc_now()) in 3_500..3_600
    assert denied.max_attempts - denied.attempt == before.max_attempts - before.attempt
    assert denied.errors == []

    # Run too early, it is denied again; and an hour later it is admitted.
    RateLimiter.Test.advance({59, :minute})
    assert %{success: 0, snoozed: 1} = drain(with_scheduled: true)
    assert DateTime.diff(job(second).scheduled_at, DateTime.utc_now()) in 0..60
    RateLimiter.Test.advance(:minute)
    assert %{success: 1, snoozed: 0} = drain(with_scheduled: true)
    assert %{state: "completed"} = job(second)
  end
end
