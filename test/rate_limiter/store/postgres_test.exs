defmodule RateLimiter.Store.PostgresTest do
  # Against a real server, which is the same for all tests of this file.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Store.Postgres
  alias RateLimiter.Support
  alias RateLimiter.Usage

  # Its options are those of the server that `setup_all` has started.
  defmodule Started do
    @behaviour RateLimiter.Store

    @impl true
    def init(options),
      do: options |> Keyword.put(:query, :persistent_term.get(__MODULE__)) |> Postgres.init()

    @impl true
    defdelegate update(store, key, change), to: Postgres

    @impl true
    defdelegate update_many(store, keys, change), to: Postgres
  end

  use RateLimiter.Store.Conformance, store: {Started, table: "public.rate_limits"}

  setup_all do
    server = Support.Postgres.start!()
    query = Support.Postgres.query(server)
    {:ok, _created} = query.(Postgres.create(), [])
    :persistent_term.put(Started, query)
    {:ok, server: server, query: query}
  end

  defp start(context, options \\ []) do
    name = {:postgres, context.test}
    store = Keyword.merge([query: context.query, nodes: 1, timeout: 20_000], options)

    start_supervised!(
      {RateLimiter,
       name: name,
       log: false,
       store: {Postgres, store},
       limiters: [
         {context.test,
          windows: [
            burst: [limit: 10, per: {30, :day}],
            month: [algorithm: :sliding_window, limit: 20, per: {30, :day}]
          ]}
       ]}
    )

    eventually(fn -> RateLimiter.health_check(name) == :ok end)
    name
  end

  test "calls are counted in the database, all windows or none", %{test: name} = context do
    start(context)

    assert {:ok, %Usage{source: :store, remaining: 9, windows: %{month: %{remaining: 19}}}} =
             RateLimiter.check_and_track(name, "u")

    assert {:error, :rate_limited, _usage} = RateLimiter.check_and_track(name, "u", cost: 10)
    assert {:ok, %Usage{remaining: 19}} = RateLimiter.get_usage(name, "u", :month)
    assert {:ok, usage} = RateLimiter.check_and_track(name, "u", :burst, cost: 4)
    assert {:ok, %Usage{remaining: 9}} = RateLimiter.refund(usage)
    assert :ok = RateLimiter.reset(name, "u")
    assert {:ok, %Usage{remaining: 10}} = RateLimiter.get_usage(name, "u", :burst)
    assert [{:ok, _}, {:ok, _}] = RateLimiter.check_batch(name, [{"v", 1}, {"w", 1}])
  end

  test "an instance that starts again finds what was used", %{test: name} = context do
    start(context)
    {:ok, _usage} = RateLimiter.check_and_track(name, "u", :burst, cost: 7)
    stop_supervised!(RateLimiter.child_spec(name: {:postgres, name}).id)
    start(context)
    assert {:ok, %Usage{remaining: 3}} = RateLimiter.get_usage(name, "u", :burst)
  end

  test "two stores that update the same keys in another order do not wait for each other",
       context do
    {:ok, store} = Postgres.init(query: context.query)
    keys = for number <- 1..20, do: "deadlock #{number}"

    tasks =
      for order <- [keys, Enum.reverse(keys), Enum.shuffle(keys)] do
        Task.async(fn ->
          for _round <- 1..20, do: Postgres.update_many(store, order, &count/2)
        end)
      end

    for results <- Task.await_many(tasks, 60_000),
        result <- results,
        do: assert(Enum.all?(result, &match?({:ok, :counted}, &1)))

    assert [{:ok, "60"}, _ | _] =
             Postgres.update_many(store, keys, fn _key, {value, _now} -> {:keep, value} end)
  end

  defp count(_key, {value, _now_us}) do
    next = String.to_integer(value || "0") + 1
    {:put, Integer.to_string(next), 60_000, :counted}
  end

  test "a sweep removes what is over, in steps", context do
    table = "public.swept"
    {:ok, _created} = context.query.(Postgres.create(table), [])
    {:ok, store} = Postgres.init(query: context.query, table: table)

    keys = for number <- 1..1_500, do: "key #{number}"
    put = fn key, _present -> {:put, key, if(key =~ "1", do: 1, else: 600_000), :put} end
    assert store |> Postgres.update_many(keys, put) |> Enum.all?(&(&1 == {:ok, :put}))
    Process.sleep(5)

    first = Postgres.sweep(store, nil)
    assert is_binary(first)
    second = Postgres.sweep(store, first)
    assert second > first
    assert Postgres.sweep(store, second) == nil

    {:ok, %{rows: [[left]]}} = context.query.("SELECT count(*) FROM #{table}", [])
    assert left == Enum.count(keys, &(not (&1 =~ "1")))
  end

  test "an unlogged table is one, and a logged one is not", context do
    for {name, logged?, persistence} <- [{"one", false, "u"}, {"other", true, "p"}] do
      {:ok, _} = context.query.(Postgres.create(name, logged?), [])
      sql = "SELECT relpersistence::text FROM pg_class WHERE relname = '#{name}'"
      assert {:ok, %{rows: [[^persistence]]}} = context.query.(sql, [])
      assert {:ok, _} = context.query.(Postgres.drop(name), [])
    end
  end

  test "an error before anything was written says so, and one after it raises", context do
    {:ok, store} = Postgres.init(query: fn _sql, _parameters -> {:error, :closed} end)

    assert Postgres.update(store, "key", fn _present -> flunk("no value") end) ==
             {:error, :closed}

    broken = fn sql, parameters ->
      if sql =~ "INSERT", do: {:error, :closed}, else: context.query.(sql, parameters)
    end

    {:ok, store} = Postgres.init(query: broken)

    assert_raise RuntimeError, "the rows could not be written: :closed", fn ->
      Postgres.update(store, "key", fn _present -> {:put, "value", 1, :reply} end)
    end
  end

  test "the share decides while the server is away, and the database counts when it is back",
       context do
    server = Support.Postgres.start!()
    query = Support.Postgres.query(server)
    {:ok, _created} = query.(Postgres.create("rate_limits", true), [])
    limiter = context.test
    name = start(%{context | query: query}, timeout: 500)
    asked = fn cost -> source(RateLimiter.check_and_track(limiter, "u", :burst, cost: cost)) end
    eventually(fn -> asked.(0) == :store end)

    Support.Program.kill(server.program)
    eventually(fn -> asked.(0) == :fallback end)
    {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(limiter, "u", :burst, cost: 3)

    Support.Postgres.start_again(server)
    eventually(fn -> RateLimiter.health_check(name) == :ok end)

    eventually(fn ->
      {:ok, usage} = RateLimiter.get_usage(limiter, "u", :burst)
      usage.source == :store and usage.remaining == 7
    end)
  end

  describe "init/1" do
    test "says which option is wrong" do
      assert {:error, "expected the option query:" <> _} = Postgres.init([])

      assert {:error, "expected the option table:" <> _} =
               Postgres.init(query: &two/2, table: "a; b")

      assert {:error, "unknown option :tabel" <> _} = Postgres.init(query: &two/2, tabel: "a")
    end
  end

  test "a name that is no table is refused" do
    for make <- [&Postgres.create/1, &Postgres.drop/1],
        do: assert_raise(ArgumentError, ~r/^expected the option table:/, fn -> make.("a; b") end)
  end

  defp two(_one, _other), do: {:error, :unused}

  defp source({:ok, usage}), do: usage.source
  defp source({:error, _reason, usage}), do: usage.source
end
