defmodule RateLimiter.ProjectTest do
  # The dependencies of mix.exs, in a runtime with a Hex that is loaded, and nothing else of it.
  use ExUnit.Case, async: true

  @moduletag :tmp_dir

  setup %{tmp_dir: directory} do
    hex = Path.join(directory, "ebin")
    File.mkdir_p!(hex)
    # Not loaded here, where Mix would ask it.
    {:ok, Hex, beam} = :compile.forms([{:attribute, 1, :module, Hex}, {:eof, 2}], [:binary])

    File.write!(Path.join(hex, "Elixir.Hex.beam"), beam)
    %{hex: hex, home: Path.join(directory, "home")}
  end

  # The names of the dependencies, and where telemetry comes from.
  defp dependencies(context, options) do
    expression = """
    Mix.start()
    Code.require_file("mix.exs")
    IO.inspect(RateLimiter.MixProject.project()[:deps])
    """

    path = if Keyword.get(options, :hex, true), do: ["-pa", context.hex], else: []
    offline = options[:offline]
    environment = [{"HEX_OFFLINE", offline}, {"HEX_HOME", context.home}, {"MIX_ENV", "test"}]

    {output, 0} =
      System.cmd("elixir", path ++ ["-e", expression], env: environment, stderr_to_stdout: true)

    {dependencies, []} = Code.eval_string(output)
    for dependency <- dependencies, do: {elem(dependency, 0), elem(dependency, 1)}
  end

  test "without Hex telemetry comes from this repository", context do
    assert dependencies(context, hex: false) == [telemetry: [path: "vendor/telemetry"]]
  end

  @tag :slow
  test "with Hex it comes from there", context do
    assert [{:telemetry, "~> 1.0"} | _] = dependencies(context, [])
    assert [{:telemetry, "~> 1.0"} | _] = dependencies(context, offline: "0")
  end

  @tag :slow
  test "with Hex offline it comes from this repository, unless Hex has a copy", context do
    for offline <- ["1", "true"] do
      assert dependencies(context, offline: offline) == [telemetry: [path: "vendor/telemetry"]]
    end

    packages = Path.join(context.home, "packages/hexpm")
    File.mkdir_p!(packages)
    File.write!(Path.join(packages, "telemetry-1.3.0.tar"), "")
    assert [{:telemetry, "~> 1.0"} | _] = dependencies(context, offline: "1")
  end
end
