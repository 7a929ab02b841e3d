defmodule RateLimiter.Native.Cargo do
  @moduledoc false
  # Builds native/rate_limiter_nif with Cargo.

  @doc "Builds the library. Returns its path and the toolchain, or what to do about the failure."
  @spec build(Path.t(), String.t()) :: {:ok, Path.t(), String.t()} | {:error, String.t()}
  def build(root, version) do
    with {:ok, cargo, rust} <- toolchain(root, version) do
      Mix.shell().info(
        "Compiling the native library of rate_limiter with Cargo (about two minutes on two cores, once)"
      )

      arguments =
        ~w(build --release --locked -p rate_limiter_nif --message-format=json-render-diagnostics)

      # Only stdout is captured: Cargo's progress and diagnostics reach the terminal as they come.
      case System.cmd(cargo, arguments ++ target_dir(root) ++ without_paths(root), cd: root) do
        {messages, 0} -> {:ok, artifact(messages), rust}
        {_messages, status} -> {:error, failed(root, version, status)}
      end
    end
  end

  @doc "The toolchain in rustc's own words (version, commit, host, LLVM), or `nil` where it does not run."
  @spec rust() :: String.t() | nil
  def rust do
    with {:ok, words} <- run_rustc(), do: words, else: (_missing_or_failed -> nil)
  end

  @doc "The oldest Rust that compiles this."
  @spec needed(Path.t()) :: String.t()
  def needed(root) do
    workspace = File.read!(Path.join(root, "Cargo.toml"))
    hd(Regex.run(~r/(?<=^rust-version = ")\d+\.\d+/m, workspace)) <> ".0"
  end

  # In the application's directory, so that a version manager finds the toolchain that is set there.
  defp run_rustc do
    with rustc when is_binary(rustc) <- System.find_executable(System.get_env("RUSTC", "rustc")),
         {words, 0} <- System.cmd(rustc, ["-vV"], stderr_to_stdout: true) do
      {:ok, words}
    else
      nil -> :missing
      {words, _status} -> {:failed, words}
    end
  end

  defp toolchain(root, version) do
    case {System.find_executable("cargo"), run_rustc()} do
      {nil, _rust} -> {:error, missing(root, version)}
      {_cargo, :missing} -> {:error, missing(root, version)}
      {_cargo, {:failed, words}} -> {:error, broken(root, version, words)}
      {cargo, {:ok, rust}} -> if_recent(cargo, rust, root, version)
    end
  end

  defp if_recent(cargo, rust, root, version) do
    release = hd(Regex.run(~r/(?<=^release: )\d+\.\d+\.\d+/m, rust))

    if Version.compare(release, needed(root)) == :lt,
      do: {:error, too_old(root, version, release)},
      else: {:ok, cargo, rust}
  end

  # In this repository Cargo's own `target` serves Mix and Cargo alike. As a dependency the source may be
  # shared or read-only: one directory in the application's _build then serves all of its environments.
  defp target_dir(root) do
    build_path = Mix.Project.build_path()

    cond do
      System.get_env("CARGO_TARGET_DIR") != nil -> []
      own?(root) -> []
      System.get_env("MIX_BUILD_PATH") != nil -> ["--target-dir", cache(build_path)]
      true -> ["--target-dir", cache(Path.dirname(build_path))]
    end
  end

  defp own?(root), do: String.starts_with?(Mix.Project.build_path(), root <> "/")

  defp cache(directory), do: Path.join(directory, "rate_limiter_cargo")

  # A panic names its source file. The library shall not name directories of the machine that built it. As flags of a
  # target they are added to those of .cargo/config.toml; RUSTFLAGS of the user replace both.
  defp without_paths(root) do
    cargo_home = System.get_env("CARGO_HOME") || Path.expand("~/.cargo")
    paths = [{root, "rate_limiter"}, {cargo_home, "cargo"}]
    build = Path.dirname(Path.dirname(Mix.Project.build_path()))

    # Below the root, the lab and this project have to agree on the flags, or each would build anew.
    paths = if own?(root), do: paths, else: [{build, "build"} | paths]
    flags = for {path, name} <- paths, do: inspect("--remap-path-prefix=#{path}=#{name}")

    ["--config", "target.'cfg(all())'.rustflags=[#{Enum.join(flags, ",")}]"]
  end

  # Cargo reports where it put the library, whatever its configuration. The messages are one JSON object a
  # line; Elixir parses JSON only since 1.18, and one string is wanted.
  defp artifact(messages) do
    line =
      messages
      |> String.split("\n")
      |> Enum.find(&(&1 =~ ~r/"cdylib".*"name":"rate_limiter_nif"/))

    [_quoted, path] = Regex.run(~r/"((?:[^"\\]|\\.)+\.(?:so|dylib|dll))"/, line)
    Regex.replace(~r/\\(.)/, path, "\\1")
  end

  ## What to do about a failure

  defp missing(root, version) do
    """
    rate_limiter: the native library needs Rust to be built, and cargo or rustc was not found.
      expected   cargo and rustc #{needed(root)} or newer on the PATH
      install    #{install_hint(root)}
      or set     #{named_hint(version)}
    """
  end

  defp broken(root, version, words) do
    """
    rate_limiter: rustc was found and failed. Its words:

    #{words |> String.trim() |> String.replace(~r/^/m, "    ")}

      expected   `rustc -vV` to succeed in #{File.cwd!()}, with Rust #{needed(root)} or newer
      check      that your version manager (rustup, asdf, mise) has a toolchain for this directory
      or set     #{named_hint(version)}
    """
  end

  defp too_old(root, version, found) do
    """
    rate_limiter: the native library needs a newer Rust.
      expected   rustc #{needed(root)} or newer
      got        rustc #{found}
      install    #{install_hint(root)}
      or set     #{named_hint(version)}
    """
  end

  defp failed(root, version, status) do
    """
    rate_limiter: Cargo could not build the native library (exit status #{status}); the reason stands above.
      expected   `cargo build --release --locked -p rate_limiter_nif` to succeed in #{root}
      check      that a C compiler is installed (Debian: apt-get install gcc libc6-dev), and that Cargo
                 can download crates, or has them from an earlier build
      or set     #{named_hint(version)}
    """
  end

  defp install_hint(root),
    do:
      "Rust from https://rustup.rs, or your system's cargo and rustc if they are #{needed(root)} or newer"

  defp named_hint(version),
    do:
      "RATE_LIMITER_NIF=/path/to/library, built elsewhere from rate_limiter #{version}; then Rust is not needed"
end
