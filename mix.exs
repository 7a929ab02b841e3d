defmodule RateLimiter.MixProject do
  use Mix.Project

  @version "0.1.0"

  def project do
    [
      app: :rate_limiter,
      version: @version,
      elixir: "~> 1.14",
      name: "RateLimiter",
      description:
        "Exact rate limits for Elixir, decided by a Rust core at the speed of a function call.",
      compilers: [:rate_limiter_nif | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      deps: deps(),
      package: package(),
      docs: docs()
    ]
  end

  def application do
    [mod: {RateLimiter.Application, []}, extra_applications: applications(Mix.env())]
  end

  # Tests make certificates of their own.
  defp applications(:test), do: [:public_key | applications(:prod)]
  defp applications(_env), do: [:logger, :crypto]

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # Without Hex there is no way to fetch the original; the stand-in keeps this repository, and an
  # application that depends on it by path, compiling and tested all the same.
  defp deps do
    if Code.ensure_loaded?(Hex) do
      [{:telemetry, "~> 1.0"}]
    else
      [{:telemetry, path: "vendor/telemetry"}]
    end
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{},
      files: ~w(lib native .cargo Cargo.toml Cargo.lock mix.exs .formatter.exs
                README.md CHANGELOG.md LICENSE guides)
    ]
  end

  defp docs do
    [
      main: "RateLimiter",
      extras: ["CHANGELOG.md", "CONTRIBUTING.md" | Path.wildcard("guides/*.md")]
    ]
  end
end

defmodule Mix.Tasks.Compile.RateLimiterNif do
  @moduledoc false
  # Builds native/rate_limiter_nif with Cargo and puts the library into the application's priv directory.
  # It stands in mix.exs because a dependency's compilers must exist before anything of it is compiled.
  use Mix.Task.Compiler

  @root __DIR__
  @sources ~w(Cargo.toml Cargo.lock .cargo/config.toml rust-toolchain.toml
              native/*/Cargo.toml native/*/build.rs native/*/src/**/*)
  @build_environment ~w(RUSTFLAGS CARGO_BUILD_TARGET)

  @impl true
  def run(args) do
    {options, _rest, _invalid} = OptionParser.parse(args, switches: [force: :boolean])

    with {:ok, inputs} <- inputs(ready_made()) do
      if options[:force] || recorded() != {inputs, library_digest()} do
        build(inputs)
      else
        {:noop, []}
      end
    end
  end

  @impl true
  def manifests, do: [manifest()]

  # Cargo's own cache stays: it belongs to `cargo clean`, and may be shared with other builds.
  @impl true
  def clean do
    File.rm(library())
    File.rm(manifest())
    :ok
  end

  ## What the library is made from: the same inputs mean that there is nothing to do

  defp ready_made do
    case System.get_env("RATE_LIMITER_NIF", "") do
      "" -> nil
      path -> path
    end
  end

  defp inputs(nil) do
    sources = @sources |> Enum.flat_map(&Path.wildcard/1) |> Enum.filter(&File.regular?/1)

    {:ok,
     %{
       sources: Map.new(sources, &{&1, :erlang.md5(File.read!(&1))}),
       environment: Enum.map(@build_environment, &System.get_env/1),
       # A machine without Rust may still use what was built before.
       rust: rust() || recorded_rust()
     }}
  end

  defp inputs(path) do
    with {:absolute, path} <- {Path.type(path), path},
         {:ok, content} <- File.read(path) do
      {:ok, %{ready_made: path, content: :erlang.md5(content)}}
    else
      {:error, reason} -> ready_made_failed(path, :file.format_error(reason))
      {_relative, path} -> ready_made_failed(path, "not an absolute path")
    end
  end

  # What was recorded is void when somebody else removed or replaced the library.
  defp library_digest do
    with {:ok, content} <- File.read(library()), do: :erlang.md5(content)
  end

  # A toolchain is known by all that it says of itself: version, commit, host, LLVM.
  defp rust do
    with rustc when is_binary(rustc) <- System.find_executable(System.get_env("RUSTC", "rustc")),
         {words, 0} <- System.cmd(rustc, ["-vV"], cd: @root, stderr_to_stdout: true) do
      words
    else
      _missing_or_broken -> nil
    end
  end

  defp recorded do
    with {:ok, binary} <- File.read(manifest()), do: :erlang.binary_to_term(binary)
  rescue
    ArgumentError -> nil
  end

  defp recorded_rust do
    with {%{rust: rust}, _library} <- recorded(), do: rust, else: (_ -> nil)
  end

  ## Building

  defp build(%{ready_made: path} = inputs) do
    Mix.shell().info("Using the native library #{path} (RATE_LIMITER_NIF)")
    install(path, inputs)
  end

  defp build(inputs) do
    with {:ok, cargo} <- toolchain() do
      Mix.shell().info("Compiling the native library of rate_limiter with Cargo")

      arguments =
        ~w(build --release --locked -p rate_limiter_nif --message-format=json-render-diagnostics)

      # Cargo's progress and diagnostics go to the terminal as they come: only stdout is captured.
      case System.cmd(cargo, arguments ++ target_dir(), cd: @root) do
        {messages, 0} -> install(artifact(messages), inputs)
        {_messages, status} -> cargo_failed(status)
      end
    end
  end

  defp toolchain do
    cargo = System.find_executable("cargo")
    rust = rust()

    cond do
      cargo == nil or rust == nil -> rust_missing()
      Version.compare(release(rust), needed()) == :lt -> rust_too_old(release(rust))
      true -> {:ok, cargo}
    end
  end

  defp release(rust), do: hd(Regex.run(~r/(?<=^release: )\d+\.\d+\.\d+/m, rust))

  defp needed do
    workspace = File.read!(Path.join(@root, "Cargo.toml"))
    hd(Regex.run(~r/(?<=^rust-version = ")\d+\.\d+/m, workspace)) <> ".0"
  end

  # In this repository Cargo's own `target` serves Mix and Cargo alike. As a dependency the source may be
  # shared or read-only, and only the build directory of the application is known to be ours to write.
  defp target_dir do
    own? = String.starts_with?(Mix.Project.build_path(), @root <> "/")

    if own? or System.get_env("CARGO_TARGET_DIR") != nil do
      []
    else
      ["--target-dir", Path.join(Mix.Project.build_path(), "rate_limiter_cargo")]
    end
  end

  # Cargo says where it put the library, whatever its configuration. The messages are one JSON object a
  # line; Elixir parses JSON only since 1.18, and one string is wanted.
  defp artifact(messages) do
    line =
      messages
      |> String.split("\n")
      |> Enum.find(&(&1 =~ ~r/"cdylib".*"name":"rate_limiter_nif"/))

    [_quoted, path] = Regex.run(~r/"((?:[^"\\]|\\.)+\.(?:so|dylib|dll))"/, line)
    Regex.replace(~r/\\(.)/, path, "\\1")
  end

  # By rename, never by writing into the old file: a running VM has that one mapped.
  defp install(built, inputs) do
    File.mkdir_p!(Path.dirname(library()))
    temporary = "#{library()}.#{System.pid()}"
    File.cp!(built, temporary)
    File.rename!(temporary, library())
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), :erlang.term_to_binary({inputs, library_digest()}))

    if :erlang.module_loaded(RateLimiter.Core.Native) do
      Mix.shell().info("The native library in this VM stays the old one until the VM restarts")
    end

    {:ok, []}
  end

  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.rate_limiter_nif")

  defp library do
    extension = if match?({:win32, _}, :os.type()), do: "dll", else: "so"
    Path.join([Mix.Project.app_path(), "priv", "rate_limiter_nif." <> extension])
  end

  ## Failing, with what to do

  defp ready_made_failed(path, why) do
    failed("""
    rate_limiter: RATE_LIMITER_NIF names no library to use: #{why}.
      expected   the absolute path of a native library that was built from rate_limiter #{version()}
      got        #{inspect(path)}
      or unset   RATE_LIMITER_NIF, and Cargo builds the library (Rust #{needed()} or newer)
    """)
  end

  defp rust_missing do
    failed("""
    rate_limiter: the native library needs Rust to be built, and cargo or rustc was not found.
      expected   cargo and rustc #{needed()} or newer on the PATH
      install    #{install_hint()}
      or set     #{ready_made_hint()}
    """)
  end

  defp rust_too_old(found) do
    failed("""
    rate_limiter: the native library needs a newer Rust.
      expected   rustc #{needed()} or newer
      got        rustc #{found}
      install    #{install_hint()}
      or set     #{ready_made_hint()}
    """)
  end

  defp cargo_failed(status) do
    failed("""
    rate_limiter: Cargo could not build the native library (exit status #{status}); it says why above.
      expected   `cargo build --release --locked -p rate_limiter_nif` to succeed in #{@root}
      check      that a C compiler is there to link with (Debian: apt-get install gcc libc6-dev), and
                 that Cargo can download crates, or has them from an earlier build
      or set     #{ready_made_hint()}
    """)
  end

  defp install_hint do
    "Rust from https://rustup.rs, or your system's cargo and rustc where they are #{needed()} or newer"
  end

  defp ready_made_hint do
    "RATE_LIMITER_NIF=/path/to/library, built elsewhere from rate_limiter #{version()}; then no Rust is needed"
  end

  defp version, do: Mix.Project.config()[:version]

  defp failed(message) do
    Mix.shell().error(message)

    {:error,
     [
       %Mix.Task.Compiler.Diagnostic{
         compiler_name: "rate_limiter_nif",
         file: Path.join(@root, "Cargo.toml"),
         position: 0,
         severity: :error,
         message: message
       }
     ]}
  end
end
