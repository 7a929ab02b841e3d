defmodule RateLimiter.VSM.TreeTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.Test
  alias RateLimiter.VSM.{Table, Tree}

  setup do
    Test.start(
      vsm: [
        subsystems: [
          leaf: [limit: 1, per: :second, law: Fixed, parent: :branch],
          branch: [limit: 1, per: :second, law: Fixed, parent: :root],
          other: [limit: 1, per: :second, law: Fixed, parent: :root],
          root: [limit: 1, per: :second, law: Fixed, shared: true]
        ]
      ]
    )

    %{table: Tree.fetch!(RateLimiter)}
  end

  defp names(subsystems), do: for({subsystem, _config} <- subsystems, do: subsystem.name)

  test "all/1 returns subsystems in configured order, also if a child comes before its parent", %{
    table: table
  } do
    assert names(Tree.all(table)) == [:leaf, :branch, :other, :root]
  end

  test "parent/2 and children/2 are one level", %{table: table} do
    assert Tree.parent(table, :leaf).name == :branch
    assert Tree.parent(table, :root) == nil
    assert names(Tree.children(table, :root)) == [:branch, :other]
    assert names(Tree.children(table, :leaf)) == []
  end

  test "fetch!/1 raises for an instance without subsystems" do
    task =
      Task.async(fn ->
        Process.delete(:"$callers")
        Test.start(name: :without, limiters: [])
        catch_error(Tree.fetch!(:without))
      end)

    assert Exception.message(Task.await(task)) ==
             "the instance :without has no subsystems. Give it the option vsm: true, or vsm: [subsystems: [...]]"
  end

  test "subsystem!/2 raises for anything that is not a subsystem's name" do
    for name <- [:lef, nil, "leaf", {:leaf}] do
      assert Exception.message(catch_error(Tree.subsystem!(RateLimiter, name))) =~
               "unknown subsystem #{inspect(name)} of RateLimiter"
    end
  end

  test "rows of the table are read with a default, taken and counted", %{table: table} do
    assert Table.get(table, :row) == nil
    assert Table.get(table, :row, 7) == 7
    :ok = Table.put(table, :row, 1)
    assert Table.take(table, :row) == 1
    assert Table.take(table, :row) == nil
    assert Table.count(table, :counter) == 1
    assert Table.count(table, :counter, 4) == 5
    refute Table.real_time?(table)
    Test.advance({1, :second})
    assert Table.date(table) == ~U[2025-01-01 00:00:01.000000Z]
    assert Table.now_ms(table) == DateTime.to_unix(Table.date(table), :millisecond)
  end

  test "a table that is gone has no rows", %{table: table} do
    gone = :ets.new(:gone, [])
    :ets.delete(gone)
    assert Table.get(gone, :row, :default) == :default
    assert_raise ArgumentError, ~r/instance has stopped/, fn -> Table.config(gone) end
    assert Table.config(table, :leaf).parent == :branch
  end
end
