defmodule RateLimiter.Redis.Certificates do
  @moduledoc false
  # TLS: its options, and the files that they name.
  #
  # The files are replaced while a node runs, because certificates expire. They are read again after a connection was
  # lost or could not be made, and when credentials change. If they cannot be read or used, an event reports that, and
  # the ones read before stay in use. The table of the instance holds their paths and a hash of their content.

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Core.{Native, Options}
  alias RateLimiter.Redis.Client

  @pem {:custom, &__MODULE__.pem?/1, "the path of a PEM file"}

  @schema [
    cacertfile: [
      type: @pem,
      doc: "the certificate authorities to trust. Default: those of the system."
    ],
    certfile: [
      type: @pem,
      doc: "the certificate of this node, if the server requires one. Requires `:keyfile`."
    ],
    keyfile: [
      type: @pem,
      doc: "the private key of `:certfile`."
    ],
    verify: [
      type: {:in, [:verify_peer, :verify_none]},
      default: :verify_peer,
      doc:
        "whether to verify the certificate of the server. Use `:verify_none` only to try things out."
    ]
  ]

  @type options :: %{
          cacertfile: String.t() | nil,
          certfile: String.t() | nil,
          keyfile: String.t() | nil,
          verify: :verify_peer | :verify_none
        }

  @typedoc "Sentinels have a row of their own only with `:sentinel_ssl`."
  @type peers :: :servers | :sentinels

  @doc "Returns the schema of the options."
  @spec schema() :: Options.schema()
  def schema, do: @schema

  @doc "Validates the option `:ssl`. Returns `false` if connections are not encrypted."
  @spec options!(term, Options.path()) :: options | false
  def options!(false, _path), do: false
  def options!(true, path), do: options!([], path)

  def options!(options, path) do
    unless Options.named?(options),
      do: Options.expected!(path, "true, false or a keyword list", options)

    files = Options.validate!(options, @schema, path)

    for {one, other} <- [certfile: :keyfile, keyfile: :certfile],
        files[one] && !files[other],
        do: Options.misuse!(path ++ [other], "is required with #{inspect(one)}")

    files
  end

  @doc false
  def pem?(path) do
    case is_binary(path) && File.read(path) do
      {:ok, content} -> content =~ "-----BEGIN "
      _unreadable -> false
    end
  end

  @doc "Returns the content of the files at the start, `nil` if connections to these peers are not encrypted."
  @spec open!(:ets.tid(), peers, options | nil | false) :: Native.tls() | nil
  def open!(_table, _peers, none) when none in [nil, false], do: nil

  def open!(table, peers, files) do
    {:ok, read} = read(files)
    keep(table, peers, files, read)
    read
  end

  @doc "Reads the files again. Later connections use their content if it changed."
  @spec reload(Instance.t()) :: :ok
  def reload(%Instance{} = instance), do: Enum.each([:servers, :sentinels], &reload(instance, &1))

  defp reload(%{table: table, store: {:redis, store}} = instance, peers) do
    with [{_row, files, used}] <- :ets.lookup(table, row(peers)),
         {:ok, read} <- read(files),
         true <- hash(read) != used,
         :ok <- Client.put_tls(store, peers, read) do
      keep(table, peers, files, read)
    else
      {:error, reason} -> report(instance, reason)
      _same_or_none -> :ok
    end
  end

  defp read(%{cacertfile: ca, certfile: certificate, keyfile: key, verify: verify}) do
    with {:ok, ca} <- file(ca),
         {:ok, certificate} <- file(certificate),
         {:ok, key} <- file(key) do
      {:ok, {ca, certificate && {certificate, key}, verify == :verify_peer}}
    end
  end

  defp file(nil), do: {:ok, nil}

  defp file(path) do
    with {:error, reason} <- File.read(path),
         do: {:error, "#{path}: #{:file.format_error(reason)}"}
  end

  defp keep(table, peers, files, read) do
    :ets.insert(table, {row(peers), files, hash(read)})
    :ok
  end

  defp row(peers), do: {:redis, :certificates, peers}

  defp hash(read), do: :crypto.hash(:sha256, :erlang.term_to_binary(read))

  defp report(instance, reason) do
    reason = "certificates could not be replaced, the previous ones stay in use: #{reason}"
    Telemetry.Redis.emit(instance.name, {:connection, nil, :failed, reason})
  end
end
