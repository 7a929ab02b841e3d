defmodule RateLimiter.Redis.Certificates do
  @moduledoc false
  # The files by which connections are encrypted. They are replaced while a node runs, since what they hold expires: read
  # again whenever a connection was lost or could not be made, and when there are other credentials. What cannot be read
  # or used is told, and what was read before stays in use.
  #
  # The instance's table keeps which files there are and a hash of what was read, not what it was.

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Core.Native
  alias RateLimiter.Redis.{Client, Config}

  @row {:redis, :certificates}

  @doc "What the files hold at the start; `nil` where connections are not encrypted."
  @spec open!(:ets.tid(), Config.t()) :: Native.tls() | nil
  def open!(_table, %Config{ssl: nil}), do: nil

  def open!(table, %Config{ssl: files}) do
    {:ok, read} = read(files)
    keep(table, files, read)
    read
  end

  @doc "Uses what the files hold now, from the next connection on."
  @spec look(Instance.t()) :: :ok
  def look(%Instance{table: table, store: {:redis, store}} = instance) do
    with [{@row, files, used}] <- :ets.lookup(table, @row),
         {:ok, read} <- read(files),
         true <- hash(read) != used,
         :ok <- Client.put_tls(store, read) do
      keep(table, files, read)
    else
      {:error, reason} -> tell(instance, reason)
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

  defp keep(table, files, read) do
    :ets.insert(table, {@row, files, hash(read)})
    :ok
  end

  defp hash(read), do: :crypto.hash(:sha256, :erlang.term_to_binary(read))

  defp tell(instance, reason) do
    reason = "certificates are used as they were read before: #{reason}"
    Telemetry.redis(instance.name, {:connection, nil, :failed, reason})
  end
end
