defmodule Mix.Tasks.RateLimiter.Gen.MigrationTest do
  # Not async: standard error is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.RateLimiter.Gen.Migration, as: Task
  alias RateLimiter.Store.Postgres

  setup do
    folder = Path.join(System.tmp_dir!(), "migrations_#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(folder) end)
    {:ok, folder: folder}
  end

  defp out(argv), do: capture_io(fn -> Task.run(argv) end)

  defp misuse(argv),
    do: capture_io(:stderr, fn -> assert catch_exit(Task.run(argv)) == {:shutdown, 2} end)

  test "a migration makes and drops the table", %{folder: folder} do
    assert out(["--path", folder]) =~ ~r/^\* creating .*\/\d{14}_create_rate_limits\.exs$/m
    [file] = Path.wildcard(Path.join(folder, "*.exs"))
    code = File.read!(file)

    assert {:defmodule, _,
            [{:__aliases__, _, [:RateLimiter, :Repo, :Migrations, :CreateRateLimits]}, _]} =
             Code.string_to_quoted!(code)

    {_code, statements} =
      code
      |> Code.string_to_quoted!()
      |> Macro.prewalk([], fn
        {:execute, _, [statement]} = node, found -> {node, [statement | found]}
        node, found -> {node, found}
      end)

    assert Enum.map(statements, &String.trim/1) ==
             Enum.map([Postgres.drop(), Postgres.create()], &String.trim/1)

    assert misuse(["--path", folder]) =~ "_create_rate_limits.exs exists"
  end

  test "the statement is printed for other tools" do
    assert out(["--sql"]) == String.trim_trailing(Postgres.create()) <> ";\n"
    logged = out(["--sql", "--logged", "--table", "app.limits"])
    assert logged =~ ~r/^CREATE TABLE app\.limits \(/
  end

  test "wrong switches and names are misuse" do
    assert misuse(["--tabel", "x"]) =~ "--tabel: no such option. Did you mean --table?"
    assert misuse(["--sql", "--table", "a; b"]) =~ "expected the option table:"
  end

  test "the help is printed" do
    assert out(["-h"]) =~ "mix rate_limiter.gen.migration --sql"
  end
end
