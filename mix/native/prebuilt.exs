defmodule RateLimiter.Native.Prebuilt do
  @moduledoc false
  # Fetches the library that a release offers for this platform, and verifies it.
  #
  # `checksums.exs` in the package lists what the release of this version offers: a map from the name of a
  # file to its SHA-256. A checkout has no such file, and builds with Cargo. The file comes from the release's
  # page, or from the mirror that RATE_LIMITER_MIRROR names (https, http or file); HTTPS_PROXY is honoured.

  @releases "https://github.com/exact-rate-limiter/exact_rate_limiter/releases/download"
  @timeout_ms 60_000

  @doc "Returns the path of the verified library, or `:none` where Cargo has to build it."
  @spec fetch(Path.t(), String.t()) :: {:ok, Path.t()} | :none | {:error, String.t()}
  def fetch(root, version) do
    with true <- System.get_env("RATE_LIMITER_BUILD", "") == "",
         {:ok, target} <- target(),
         name = file_name(version, target),
         %{^name => checksum} <- checksums(root) do
      name |> download(version) |> verified(name, checksum)
    else
      _not_offered -> :none
    end
  end

  @doc "Returns the name of the release's file for a platform."
  @spec file_name(String.t(), String.t()) :: String.t()
  def file_name(version, target), do: "rate_limiter_nif-v#{version}-#{target}.gz"

  @doc "Returns the name of this platform in Rust."
  @spec target() :: {:ok, String.t()} | :unknown
  def target do
    if System.get_env("CARGO_BUILD_TARGET", "") == "",
      do: target(:os.type(), to_string(:erlang.system_info(:system_architecture))),
      else: :unknown
  end

  @doc "Returns the name of an Erlang platform in Rust."
  @spec target({atom, atom}, String.t()) :: {:ok, String.t()} | :unknown
  def target({:win32, _}, _architecture), do: {:ok, "x86_64-pc-windows-msvc"}

  def target(_os, architecture) do
    [cpu | _] = parts = String.split(architecture, "-")
    cpu = if cpu in ~w(arm64 aarch64), do: "aarch64", else: cpu

    cond do
      cpu not in ~w(x86_64 aarch64) -> :unknown
      architecture =~ "apple-darwin" -> {:ok, "#{cpu}-apple-darwin"}
      List.last(parts) == "musl" -> {:ok, "#{cpu}-unknown-linux-musl"}
      List.last(parts) == "gnu" -> {:ok, "#{cpu}-unknown-linux-gnu"}
      true -> :unknown
    end
  end

  defp checksums(root) do
    file = Path.join(root, "checksums.exs")
    if File.regular?(file), do: file |> Code.eval_file() |> elem(0), else: %{}
  end

  defp verified({:ok, content}, name, checksum) do
    case Base.encode16(:crypto.hash(:sha256, content), case: :lower) do
      ^checksum -> {:ok, unpacked(content, name)}
      other -> {:error, mismatch(name, checksum, other)}
    end
  end

  # A machine without a network may still have Rust.
  defp verified({:error, url, reason}, _name, _checksum) do
    Mix.shell().info("rate_limiter: #{url} could not be fetched (#{reason}); building with Cargo")
    :none
  end

  defp unpacked(content, name) do
    path = Path.join(Mix.Project.manifest_path(), Path.rootname(name))
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, :zlib.gunzip(content))
    path
  end

  defp download(name, version) do
    case System.get_env("RATE_LIMITER_MIRROR", "") do
      "file://" <> directory -> read(Path.join(directory, name))
      "" -> request("#{@releases}/v#{version}/#{name}")
      mirror -> request("#{String.trim_trailing(mirror, "/")}/#{name}")
    end
  end

  defp read(file) do
    with {:error, reason} <- File.read(file), do: {:error, file, :file.format_error(reason)}
  end

  defp request(url) do
    Mix.shell().info("Fetching #{url}")

    with {:ok, _started} <- Application.ensure_all_started(:inets),
         {:ok, _started} <- Application.ensure_all_started(:ssl),
         :ok <- set_proxy(System.get_env("HTTPS_PROXY") || System.get_env("https_proxy")),
         {:ok, {{_version, 200, _reason}, _headers, body}} <-
           :httpc.request(:get, {to_charlist(url), []}, http_options(), body_format: :binary) do
      {:ok, body}
    else
      {:ok, {{_version, status, reason}, _headers, _body}} -> {:error, url, "#{status} #{reason}"}
      {:error, reason} -> {:error, url, inspect(reason)}
    end
  end

  defp http_options do
    [timeout: @timeout_ms, connect_timeout: @timeout_ms, ssl: tls()]
  end

  # The system's certificates, where this OTP can read them: a wrong file is caught by its checksum anyway.
  defp tls do
    [
      verify: :verify_peer,
      cacerts: :public_key.cacerts_get(),
      customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
    ]
  end

  defp set_proxy(nil), do: :ok

  defp set_proxy(proxy) do
    %URI{host: host, port: port} = URI.parse(proxy)
    :httpc.set_options(https_proxy: {{to_charlist(host || ""), port || 80}, []})
  end

  defp mismatch(name, expected, got) do
    """
    rate_limiter: #{name} is not the file that this version of the package was released with.
      expected   SHA-256 #{expected}
      got        SHA-256 #{got}
      or set     RATE_LIMITER_BUILD=1, and Cargo builds the library
    """
  end
end
