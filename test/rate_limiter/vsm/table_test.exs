defmodule RateLimiter.VSM.TableTest do
  use ExUnit.Case, async: true

  alias RateLimiter.VSM.Table

  setup do: %{table: :ets.new(:vsm_table_test, [:public])}

  # The table of an instance that has stopped.
  defp ended do
    table = :ets.new(:vsm_table_test, [])
    :ets.delete(table)
    table
  end

  test "a row is put, read, replaced and taken once", %{table: table} do
    assert Table.get(table, :a) == nil
    assert Table.get(table, :a, 5) == 5
    :ok = Table.put(table, :a, nil)
    assert Table.get(table, :a, 5) == nil
    :ok = Table.put(table, :a, {1, 2})
    assert Table.take(table, :a) == {1, 2}
    assert Table.take(table, :a) == nil
  end

  test "a counter begins at zero, and counts every process", %{table: table} do
    1..8
    |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..500, do: Table.count(table, :c) end) end)
    |> Task.await_many(:infinity)

    assert Table.count(table, :c, 0) == 4_000
    assert Table.count(table, :c, -1) == 3_999
  end

  test "after the instance has stopped a row is its default, and what needs the instance raises" do
    table = ended()
    assert Table.get(table, :a, 5) == 5

    for call <- [&Table.config/1, &Table.now_ms/1, &Table.date/1, &Table.count(&1, :c)],
        do: assert_raise(ArgumentError, fn -> call.(table) end)
  end

  test "the clock is the runtime's or the one of a test", %{table: table} do
    Table.put(table, :clock, :monotonic)
    assert Table.real_time?(table)
    before = System.monotonic_time(:millisecond)
    assert Table.now_ms(table) in before..System.monotonic_time(:millisecond)

    Table.put(table, :clock, RateLimiter.Store.manual_clock(1_431_820_800_500_000_000))
    refute Table.real_time?(table)
    assert Table.now_ms(table) == 1_431_820_800_500
    assert DateTime.to_iso8601(Table.date(table)) =~ "2015-05-17T00:00:00.5"
  end

  test "config/2 is that of one subsystem, and an unknown one raises", %{table: table} do
    Table.put(table, :config, %{subsystems: [work: :of_work]})
    assert Table.config(table, :work) == :of_work
    assert_raise KeyError, fn -> Table.config(table, :other) end
  end
end
