defmodule RateLimiter.Signals.LedgerTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.Signals.Ledger
  alias RateLimiter.Test
  alias RateLimiter.VSM.{Table, Tree}

  setup do
    Test.start(
      vsm: [
        subsystems: [
          low: [limit: 50, per: :second, law: Fixed],
          _: [limit: 1, per: :second, law: Fixed]
        ]
      ]
    )

    table = Tree.fetch!(RateLimiter)
    %{table: table, low: Tree.subsystem!(RateLimiter, :low)}
  end

  defp levels(table, kind \\ :pain, name \\ :low),
    do:
      for(
        entry <- Ledger.entries(table, kind, name, Table.now_ms(table)),
        do: {entry.source, entry.level}
      )

  test "a signal halves with each half-life, and ends with its time to live", %{
    table: table,
    low: low
  } do
    %{half_life: half_life, ttl: ttl} = Table.config(table)
    Ledger.put(low, :pleasure, :a, 0.8, nil)

    for n <- 0..div(ttl - 1, half_life) do
      assert [{:a, level}] = levels(table, :pleasure)
      assert_in_delta level, 0.8 * :math.pow(0.5, n), 1.0e-9
      Test.advance(half_life)
    end

    Test.advance(ttl)
    assert levels(table, :pleasure) == []
  end

  test "the last signal of a source counts, the strongest source comes first", %{
    table: table,
    low: low
  } do
    :rand.seed(:exsss, 2)

    last =
      for _ <- 1..200, reduce: %{} do
        last ->
          {source, level} = {:rand.uniform(10), Float.round(:rand.uniform() / 2, 3)}
          assert {^source, ^level} = Ledger.put(low, :pain, source, level, nil)
          Map.put(last, source, level)
      end

    assert Map.new(levels(table)) == last
    assert levels(table) == Enum.sort_by(levels(table), &elem(&1, 1), :desc)
  end

  test "pain is capped and pleasure is not", %{table: table, low: low} do
    cap = Table.config(table).source_cap
    assert {:a, level} = Ledger.put(low, :pain, :a, 1.0, nil)
    assert level == min(1.0, cap)
    assert {:a, 1.0} = Ledger.put(low, :pleasure, :a, 1.0, nil)
    assert [{:a, ^level}] = levels(table)
  end

  test "a subsystem keeps 64 sources by name of each kind, and the others as one", %{
    table: table,
    low: low
  } do
    for n <- 1..1_000, do: Ledger.put(low, :pain, n, 0.1, nil)
    assert {:others, _level} = Ledger.put(low, :pain, :late, 0.2, nil)
    assert {5, _level} = Ledger.put(low, :pain, 5, 0.3, nil)
    assert {:late, _level} = Ledger.put(low, :pleasure, :late, 0.2, nil)
    assert length(levels(table)) == 65
  end

  test "signals of subsystems and kinds are separate, whatever the names", %{
    table: table,
    low: low
  } do
    Ledger.put(low, :pain, :a, 0.5, nil)
    Ledger.put(Tree.subsystem!(RateLimiter, :_), :pain, :b, 0.4, nil)
    assert levels(table) == [a: 0.5]
    assert levels(table, :pain, :_) == [b: 0.4]
    assert levels(table, :pleasure) == []

    # An unusual name deletes its own signals only.
    Ledger.purge(table, :_, Table.now_ms(table) + Table.config(table).ttl)
    assert levels(table) == [a: 0.5]
    assert levels(table, :pain, :_) == []
  end

  test "purge/3 deletes what has expired, and nothing else", %{table: table, low: low} do
    Ledger.put(low, :pain, :old, 0.5, nil)
    Test.advance(Table.config(table).ttl - 1)
    Ledger.put(low, :pain, :new, 0.5, nil)
    Ledger.purge(table, :low, Table.now_ms(table))
    assert :ets.info(Table.get(table, :signals), :size) == 2
    Ledger.purge(table, :low, Table.now_ms(table) + 1)
    assert [{:new, _level}] = levels(table)
  end

  test "a source is stuck from 0.9 on, until it reports less than 0.7", %{table: table, low: low} do
    stuck = fn ->
      [entry] = Ledger.entries(table, :pain, :low, Table.now_ms(table))
      Ledger.stuck_for(entry, Table.now_ms(table))
    end

    for {level, expected} <- [
          {0.89, 0},
          {0.9, 0},
          {1.0, 1_000},
          {0.7, 2_000},
          {0.9, 3_000},
          {0.69, 0},
          {0.8, 0},
          {0.95, 0}
        ] do
      Ledger.put(low, :pain, :probe, level, nil)
      assert stuck.() == expected
      Test.advance(1_000)
    end
  end
end
