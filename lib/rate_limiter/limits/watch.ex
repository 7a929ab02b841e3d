defmodule RateLimiter.Limits.Watch do
  @moduledoc false
  # Reads the source of an instance's limits when it starts, and then again and again, and applies what has changed.
  #
  # The content decides, not the time of the file: so a swapped symbolic link is seen, as Kubernetes makes it, and a second
  # change within the same second. Content that was refused is reported once.

  use GenServer

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Instance.{Config, Writer}
  alias RateLimiter.Limits.{Change, Document, Source}

  @doc false
  @spec start_link({Instance.t(), Source.t()}) :: GenServer.on_start()
  def start_link({%Instance{}, %Source{}} = argument),
    do: GenServer.start_link(__MODULE__, argument)

  @doc "Returns the configuration with the limits of its source. Raises `ArgumentError` if they are invalid."
  @spec merge!(Config.t()) :: Config.t()
  def merge!(%Config{limits: nil} = config), do: config

  def merge!(%Config{limits: source, limiters: limiters} = config) do
    with {:ok, limits} <- source |> read() |> limits(source),
         {:ok, steps} <- Change.steps(limits, limiters, config.store) do
      %{config | limiters: Change.apply(steps, limiters)}
    else
      {:error, reasons} ->
        raise ArgumentError,
              "limits: #{Source.name(source)}: #{reasons |> List.wrap() |> Enum.join("; ")}"
    end
  end

  @doc "Returns the limits of a file, or why it cannot be read as such."
  @spec file(Path.t()) :: {:ok, term} | {:error, [String.t(), ...]}
  def file(path) do
    source = Source.new!({:file, path}, [])
    with {:error, reason} <- source |> read() |> limits(source), do: {:error, [reason]}
  end

  @impl true
  def init({instance, source}) do
    schedule(source)
    {:ok, {instance, source, nil}}
  end

  @impl true
  def handle_info(:look, {instance, source, seen}) do
    schedule(source)
    content = read(source)
    digest = :crypto.hash(:sha256, :erlang.term_to_binary(content))
    if digest != seen, do: change(instance, source, limits(content, source))
    # Large terms of this look are garbage until the next one.
    {:noreply, {instance, source, digest}, :hibernate}
  end

  # A late message to the function of a source.
  def handle_info(_other, state), do: {:noreply, state}

  defp change(instance, source, {:ok, limits}) do
    how = %{by: Source.name(source), dry_run: false, max_denied: source.max_denied}

    with {:invalid, reasons} <- Writer.change!(instance, {:apply, limits, how}),
         do: refused(instance, source, reasons)
  end

  defp change(instance, source, {:error, reason}), do: refused(instance, source, [reason])

  defp refused(instance, source, reasons),
    do: Telemetry.limits_refused(instance.name, Source.name(source), reasons)

  defp read(%Source{kind: :file, of: path}), do: Document.text(path)

  defp read(%Source{kind: :function, of: fun}) do
    case fun.() do
      {:ok, limits} ->
        {:ok, limits}

      {:error, reason} ->
        {:error, "the function returned {:error, #{inspect(reason, limit: 10)}}"}

      limits ->
        {:ok, limits}
    end
  rescue
    # Its message might have a secret of the application, such as the address of a database.
    error -> {:error, "the function raised #{inspect(error.__struct__)}"}
  catch
    kind, _reason -> {:error, "the function failed with #{kind}"}
  end

  defp limits({:error, reason}, _source), do: {:error, reason}

  defp limits({:ok, text}, %Source{kind: :file, of: path}) do
    with {:ok, format} <- Document.format(path), do: Document.limits(text, format)
  end

  defp limits({:ok, limits}, %Source{kind: :function}), do: {:ok, Document.terms(limits)}

  defp schedule(source), do: Process.send_after(self(), :look, source.every_ms)
end
