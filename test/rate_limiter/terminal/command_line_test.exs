defmodule RateLimiter.Terminal.CommandLineTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO
  alias RateLimiter.Terminal.CommandLine

  @switches [help: :boolean, every_ms: :integer, node: :string]

  test "valid switches are returned in their order" do
    assert options(~w(--node a --every-ms 5)) == {:ok, [node: "a", every_ms: 5]}
    assert options(~w(-n a)) == {:ok, [node: "a"]}
    assert options([]) == {:ok, []}
  end

  test "help comes before the rest of the switches, not before a mistake" do
    assert options(~w(--node a --help)) == :help
    assert {:error, _} = options(~w(--help --every-ms x))
    assert {:error, _} = options(~w(--help file))
  end

  test "a mistake names the switch and what was expected of it" do
    assert options(~w(--every-ms x)) ==
             {:error, ~s(--every-ms: expected a whole number, got: "x")}

    assert options(~w(--help=x)) == {:error, ~s(--help: expected no value, got: "x")}
    assert options(~w(--node)) == {:error, "--node: expected a value"}
    assert options(~w(file)) == {:error, "expected options only, got: file"}
  end

  test "a misspelt switch suggests the nearest one, another none" do
    assert options(~w(--evry-ms 5)) ==
             {:error, "--evry-ms: no such option. Did you mean --every-ms?"}

    assert options(~w(--zzz)) == {:error, "--zzz: no such option"}
  end

  test "the first of several mistakes is reported" do
    assert {:error, "--zzz" <> _} = options(~w(--zzz --every-ms x))
    assert {:error, "--every-ms" <> _} = options(~w(--every-ms x --zzz))
  end

  test "a failure is printed on stderr and sets the exit status" do
    printed =
      capture_io(:stderr, fn ->
        assert catch_exit(CommandLine.fail("task", "no such file", 3)) == {:shutdown, 3}
      end)

    assert printed == "mix task: no such file\n"
  end

  test "OptionParser reads the flag of a switch as that switch" do
    for {switch, type} <- @switches, type != :boolean do
      assert {:ok, [{^switch, _value}]} = options([CommandLine.flag(switch), "1"])
    end
  end

  defp options(argv), do: CommandLine.options(argv, @switches, n: :node)
end
