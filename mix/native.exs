# The Mix compiler of the native library. It takes, in this order:
#
#   1. the library that RATE_LIMITER_NIF names
#   2. the library that was installed before, if nothing that it was made from has changed
#   3. a library that the release offers for this platform (checksums.exs), unless RATE_LIMITER_BUILD is set
#   4. what Cargo builds
for file <- ~w(cargo prebuilt), do: Code.require_file("native/#{file}.exs", __DIR__)

defmodule Mix.Tasks.Compile.RateLimiterNif do
  @moduledoc false
  use Mix.Task.Compiler

  alias RateLimiter.Native.{Cargo, Prebuilt}

  @root Path.expand("..", __DIR__)
  @sources ~w(Cargo.toml Cargo.lock .cargo/config.toml checksums.exs
              native/*/Cargo.toml native/*/build.rs native/*/src/**/* native/*/lua/**/*)
  @build_environment ~w(RUSTFLAGS CARGO_BUILD_TARGET RATE_LIMITER_BUILD)

  @impl true
  def run(args) do
    {options, _rest, _invalid} = OptionParser.parse(args, switches: [force: :boolean])
    forced? = options[:force] == true

    with {:ok, inputs} <- inputs(named_library()) do
      if not forced? and installed?(inputs), do: {:noop, []}, else: make(inputs)
    end
    |> case do
      {:error, message} -> failed(message)
      done -> done
    end
  end

  @impl true
  def manifests, do: [manifest()]

  # Cargo's cache stays: it belongs to `cargo clean`, and may be shared with other builds.
  @impl true
  def clean do
    File.rm(library())
    File.rm(manifest())
    :ok
  end

  ## What the library is made from. The same inputs and an intact library mean that there is nothing to do.

  defp named_library do
    case System.get_env("RATE_LIMITER_NIF", "") do
      "" -> nil
      path -> path
    end
  end

  defp inputs(nil), do: {:ok, %{named: nil, sources: sources(), environment: environment()}}

  defp inputs(path) do
    with {:absolute, path} <- {Path.type(path), path},
         {:ok, content} <- File.read(path) do
      {:ok,
       %{
         named: {path, :erlang.md5(content)},
         sources: sources(),
         environment: environment()
       }}
    else
      {:error, reason} -> {:error, invalid_path(path, :file.format_error(reason))}
      {_relative, path} -> {:error, invalid_path(path, "not an absolute path")}
    end
  end

  defp sources do
    for pattern <- @sources,
        file <- Path.wildcard(Path.join(@root, pattern), match_dot: true),
        File.regular?(file),
        into: %{},
        do: {Path.relative_to(file, @root), :erlang.md5(File.read!(file))}
  end

  defp environment, do: Enum.map(@build_environment, &System.get_env/1)

  defp installed?(inputs) do
    with {%{sources: _} = recorded, digest} <- recorded(), ^digest <- digest(library()) do
      recorded.sources == inputs.sources and same_origin?(recorded, inputs)
    else
      _other -> false
    end
  end

  # A library that RATE_LIMITER_NIF named once fits as long as the sources are the same: the variable
  # does not have to be set for each later command.
  defp same_origin?(%{named: {_path, _digest}}, %{named: nil}), do: true

  defp same_origin?(recorded, %{named: nil} = inputs),
    # Without Rust, what was built before stays in use.
    do:
      recorded.environment == inputs.environment and
        recorded.rust in [nil, Cargo.rust() || recorded.rust]

  defp same_origin?(recorded, inputs), do: recorded.named == inputs.named

  defp recorded do
    with {:ok, binary} <- File.read(manifest()), do: :erlang.binary_to_term(binary)
  rescue
    ArgumentError -> nil
  end

  defp digest(file) do
    with {:ok, content} <- File.read(file), do: :erlang.md5(content)
  end

  ## Making it

  defp make(%{named: {path, _digest}} = inputs) do
    Mix.shell().info("Using the native library #{path} (RATE_LIMITER_NIF)")
    install(path, Map.put(inputs, :rust, nil))
  end

  defp make(inputs) do
    case Prebuilt.fetch(@root, version()) do
      {:ok, path} -> install(path, Map.put(inputs, :rust, nil))
      :none -> build(inputs)
      {:error, message} -> {:error, message}
    end
  end

  defp build(inputs) do
    with {:ok, path, rust} <- Cargo.build(@root, version()),
         do: install(path, Map.put(inputs, :rust, rust))
  end

  # Renames the new file over the old one, and never writes into it: a running VM has the old one mapped.
  defp install(built, inputs) do
    File.mkdir_p!(Path.dirname(library()))
    temporary = "#{library()}.#{System.pid()}"
    File.cp!(built, temporary)
    File.rename!(temporary, library())
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), :erlang.term_to_binary({inputs, digest(library())}))

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

  defp version, do: Mix.Project.config()[:version]

  defp invalid_path(path, why) do
    """
    rate_limiter: RATE_LIMITER_NIF does not name a usable library: #{why}.
      expected   the absolute path of a native library that was built from rate_limiter #{version()}
      got        #{inspect(path)}
      or unset   RATE_LIMITER_NIF, and Cargo builds the library (Rust #{Cargo.needed(@root)} or newer)
    """
  end

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
