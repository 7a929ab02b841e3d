defmodule RateLimiter.DependencyTest do
  # Another application depends on this one: a fresh Mix project in a temporary directory, on a copy of the files that
  # are published, with the real Mix and the real Cargo behind a script that keeps a record of its calls.
  use ExUnit.Case

  @moduletag :dependency
  @moduletag timeout: 600_000

  @three_calls """
  {:ok, _} = RateLimiter.start_link(limiters: [api: [windows: [burst: [limit: 2, per: {1, :hour}]]]])
  IO.inspect(for _ <- 1..3, do: elem(RateLimiter.check_and_track(:api, "user", :burst), 0))
  """
  @three_answers "[:ok, :ok, :error]"

  setup_all do
    directory = Path.join(System.tmp_dir!(), "rate_limiter_dependency_#{System.pid()}")
    File.mkdir!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)

    paths = %{
      app: Path.join(directory, "app"),
      library: Path.join(directory, "rate_limiter"),
      tools: Path.join(directory, "tools"),
      without_rust: Path.join(directory, "without_rust"),
      builds: Path.join(directory, "builds"),
      cargo_calls: Path.join(directory, "cargo_calls")
    }

    copy_published_files(paths.library)
    write_application(paths)
    write_recording_cargo(paths)
    link_everything_but_rust(paths.without_rust)
    {_output, 0} = mix(paths, ["deps.get"])
    {output, status} = mix(paths, ["run", "-e", @three_calls])
    Map.merge(paths, %{first_output: output, first_status: status})
  end

  test "the first use compiles the crate, shows Cargo's output, and the limiter decides",
       context do
    assert context.first_status == 0, context.first_output
    assert context.first_output =~ "Compiling rate_limiter_core v"
    assert context.first_output =~ "Finished `release` profile"
    assert context.first_output =~ @three_answers
    assert File.regular?(built_library(context))
  end

  test "everything that is built lies in the application, nothing in the dependency", context do
    refute File.exists?(Path.join(context.library, "target"))
    refute File.exists?(Path.join(context.library, "priv"))
    refute File.exists?(Path.join(context.library, "_build"))
  end

  test "Cargo is not started again while nothing changed", context do
    before = cargo_calls(context)
    assert {_output, 0} = mix(context, ["compile"])
    assert {output, 0} = mix(context, ["run", "-e", @three_calls])
    assert output =~ @three_answers
    assert cargo_calls(context) == before

    # A new time on the same content is no change.
    File.touch!(rust_source(context), System.os_time(:second) + 60)
    assert {_output, 0} = mix(context, ["compile"])
    assert cargo_calls(context) == before
  end

  test "Cargo builds again after a Rust source changed, and after the library was lost",
       context do
    before = cargo_calls(context)
    File.write!(rust_source(context), "\n// One more line.\n", [:append])
    assert {output, 0} = mix(context, ["compile"])
    assert output =~ "Compiling rate_limiter_core v"
    assert cargo_calls(context) == before + 1

    File.rm!(built_library(context))
    assert {_output, 0} = mix(context, ["compile"])
    assert File.regular?(built_library(context))
    assert cargo_calls(context) == before + 2
  end

  test "--force starts Cargo although nothing changed", context do
    options = [
      cd: context.library,
      env: [
        {"CARGO_TARGET_DIR", Path.join(context.app, "_build/dev/rate_limiter_cargo")}
        | fresh_build(context, "forced")
      ]
    ]

    assert {_output, 0} = mix(context, ["compile.rate_limiter_nif"], options)
    before = cargo_calls(context)
    assert {_output, 0} = mix(context, ["compile.rate_limiter_nif"], options)
    assert cargo_calls(context) == before
    assert {_output, 0} = mix(context, ["compile.rate_limiter_nif", "--force"], options)
    assert cargo_calls(context) == before + 1
  end

  test "what was built before goes on without Rust", context do
    assert {output, 0} = mix(context, ["run", "-e", @three_calls], path: context.without_rust)
    assert output =~ @three_answers
  end

  test "RATE_LIMITER_NIF takes a ready-made library, and needs no Rust", context do
    ready_made = Path.join(context.library, "ready_made.so")
    File.cp!(built_library(context), ready_made)
    environment = [{"RATE_LIMITER_NIF", ready_made} | fresh_build(context, "ready_made")]

    assert {output, 0} =
             mix(context, ["run", "-e", @three_calls],
               path: context.without_rust,
               env: environment
             )

    assert output =~ "Using the native library #{ready_made}"
    assert output =~ @three_answers
  end

  test "RATE_LIMITER_NIF that names no library says what it expects", context do
    for {path, why} <- [
          {"/nowhere/rate_limiter_nif.so", "no such file or directory"},
          {"nif.so", "not an absolute path"}
        ] do
      environment = [{"RATE_LIMITER_NIF", path} | fresh_build(context, "no_library")]
      assert {output, 1} = mix(context, ["compile"], env: environment)
      assert output =~ "RATE_LIMITER_NIF does not name a usable library: #{why}"
      assert output =~ ~r/expected +the absolute path/
      assert output =~ ~r/got +"#{path}"/
    end
  end

  test "without Rust and without RATE_LIMITER_NIF the message says what to install or set",
       context do
    assert {output, 1} =
             mix(context, ["compile"],
               path: context.without_rust,
               env: fresh_build(context, "no_rust")
             )

    assert output =~ "needs Rust to be built, and cargo or rustc was not found"
    assert output =~ ~r/install +Rust from .*rustup/
    assert output =~ ~r/or set +RATE_LIMITER_NIF=/
  end

  test "a Rust that is too old is named, with the version that is needed", context do
    old = Path.join(context.builds, "old_rust")
    write_script(old, "rustc", "echo 'rustc 1.63.0 (0123456 2022-08-11)'; echo 'release: 1.63.0'")

    assert {output, 1} =
             mix(context, ["compile"],
               path: "#{old}:#{path(context)}",
               env: fresh_build(context, "old")
             )

    assert output =~ "needs a newer Rust"
    assert output =~ ~r/expected +rustc 1\.\d+\.0 or newer/
    assert output =~ ~r/got +rustc 1\.63\.0/
    assert output =~ ~r/or set +RATE_LIMITER_NIF=/
  end

  test "a failure of Cargo shows its words, then what to check", context do
    broken = Path.join(context.builds, "broken_cargo")
    write_script(broken, "cargo", "echo 'error: linker `cc` not found' >&2; exit 101")

    assert {output, 1} =
             mix(context, ["compile"],
               path: "#{broken}:#{path(context)}",
               env: fresh_build(context, "broken")
             )

    assert output =~ "error: linker `cc` not found"
    assert output =~ "Cargo could not build the native library (exit status 101)"
    assert output =~ "apt-get install gcc"

    refute File.exists?(
             Path.join(context.builds, "broken/lib/rate_limiter/priv/rate_limiter_nif.so")
           )
  end

  ## The application and its surroundings

  defp mix(paths, arguments, options \\ []) do
    environment = [
      {"PATH", Keyword.get(options, :path, path(paths))},
      {"MIX_ENV", "dev"},
      {"MIX_BUILD_PATH", nil},
      {"CARGO_TARGET_DIR", nil},
      # This build has to be quick, its result need not be.
      {"CARGO_PROFILE_RELEASE_LTO", "off"},
      {"CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"},
      {"CARGO_PROFILE_RELEASE_DEBUG", "0"},
      {"CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"},
      {"RATE_LIMITER_NIF", nil}
    ]

    System.cmd("mix", arguments,
      cd: Keyword.get(options, :cd, paths.app),
      env: environment ++ Keyword.get(options, :env, []),
      stderr_to_stdout: true
    )
  end

  defp path(paths), do: "#{paths.tools}:#{System.fetch_env!("PATH")}"

  defp fresh_build(paths, name), do: [{"MIX_BUILD_PATH", Path.join(paths.builds, name)}]

  defp built_library(paths),
    do: Path.join(paths.app, "_build/dev/lib/rate_limiter/priv/rate_limiter_nif.so")

  defp rust_source(paths), do: Path.join(paths.library, "native/rate_limiter_core/src/lib.rs")

  defp cargo_calls(paths),
    do: paths.cargo_calls |> File.read!() |> String.split("\n", trim: true) |> length()

  # The stand-in for telemetry is not published: an application without Hex has a clone.
  defp copy_published_files(target) do
    for pattern <- ["vendor" | Mix.Project.config()[:package][:files]],
        path <- Path.wildcard(pattern, match_dot: true) do
      File.mkdir_p!(Path.dirname(Path.join(target, path)))
      File.cp_r!(path, Path.join(target, path))
    end
  end

  defp write_application(paths) do
    File.mkdir_p!(Path.join(paths.app, "lib"))

    File.write!(Path.join(paths.app, "mix.exs"), """
    defmodule App.MixProject do
      use Mix.Project
      def project, do: [app: :app, version: "0.1.0", deps: [{:rate_limiter, path: #{inspect(paths.library)}}]]
    end
    """)
  end

  defp write_recording_cargo(paths) do
    cargo = System.find_executable("cargo")

    write_script(
      paths.tools,
      "cargo",
      ~s(echo "$@" >> '#{paths.cargo_calls}'; exec '#{cargo}' "$@")
    )
  end

  defp write_script(directory, name, body) do
    File.mkdir_p!(directory)
    file = Path.join(directory, name)
    File.write!(file, "#!/bin/sh\n#{body}\n")
    File.chmod!(file, 0o755)
  end

  # Rust may share its directory with all else, as in /usr/bin.
  defp link_everything_but_rust(target) do
    File.mkdir_p!(target)

    for directory <- String.split(System.fetch_env!("PATH"), ":", trim: true),
        {:ok, names} <- [File.ls(directory)],
        name <- names -- ~w(cargo rustc) do
      # The first of a name wins, as on the PATH.
      File.ln_s(Path.join(directory, name), Path.join(target, name))
    end
  end
end
