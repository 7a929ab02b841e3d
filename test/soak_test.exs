defmodule RateLimiter.SoakTest do
  # A short soak: it shows that the script works, and that nothing is lost within seconds.
  use ExUnit.Case, async: false

  @root Path.expand("..", __DIR__)

  @tag :slow
  @tag timeout: :timer.minutes(10)
  test "nothing is lost in a third of a minute of mixed load and faults" do
    {output, status} = soak(["0.33"])
    assert {status, output =~ "Passed: nothing was lost."} == {0, true}, output
  end

  test "a wrong number of minutes is refused" do
    for argument <- ["0", "-1", "ten"] do
      {output, status} = soak([argument])
      assert status == 2
      assert output =~ "expected a number of minutes above 0, got: #{argument}"
    end
  end

  defp soak(arguments) do
    System.cmd("mix", ["run", "--no-compile", "bench/soak.exs" | arguments],
      cd: @root,
      env: [{"MIX_ENV", "test"}],
      stderr_to_stdout: true
    )
  end
end
