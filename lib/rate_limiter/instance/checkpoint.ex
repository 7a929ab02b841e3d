defmodule RateLimiter.Instance.Checkpoint do
  @moduledoc false
  # The counts of an instance in files, so that they survive a restart: the options, and what is done with the files.
  #
  # The native library writes and reads them on dirty schedulers, beside the calls. The state of the last attempt is a row
  # of the instance's table.

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Core.{Native, Options}

  @status {:checkpoint, :status}

  @schema [
    path: [
      type: :string,
      required: true,
      doc: "a folder of this instance on this node alone. It is created if it does not exist."
    ],
    every: [
      type: {:or, [:milliseconds, {:in, [:infinity]}]},
      default: :infinity,
      doc:
        "milliseconds between two checkpoints. What was counted since the last one is lost when the node is killed. With " <>
          "`:infinity`, one is written on an orderly stop only."
    ],
    keep: [type: {:in, 1..1_000}, default: 3, doc: "how many files stay."]
  ]

  @type t :: %{
          path: String.t(),
          every: pos_integer | :infinity,
          keep: pos_integer
        }
  @typep restored :: %{
           required(:file) => String.t(),
           required(:keys) => non_neg_integer,
           required(:left_out) => non_neg_integer,
           required(:dropped) => [String.t()],
           required(:age_ms) => integer
         }
  @type outcome ::
          {:ok, restored | nil, refused :: [{file :: String.t(), reason :: String.t()}],
           duration_ms :: non_neg_integer}
          | {:error, reason :: String.t()}
          | nil

  @doc "Returns the schema of the options."
  @spec schema() :: Options.schema()
  def schema, do: @schema

  @doc "Validates the options."
  @spec new!(term, Options.path()) :: t
  def new!(options, path), do: Options.validate!(options, @schema, path)

  @doc "Creates the folder. Raises `ArgumentError` if it cannot be written to."
  @spec open!(t | nil) :: :ok
  def open!(nil), do: :ok

  def open!(%{path: path}) do
    probe = Path.join(path, "probe.tmp")

    with :ok <- File.mkdir_p(path),
         :ok <- File.write(probe, ""),
         :ok <- File.rm(probe) do
      :ok
    else
      {:error, reason} ->
        Options.misuse!(
          [:checkpoint, :path],
          "expected a folder that can be written to, got: #{inspect(path)} (#{:file.format_error(reason)})"
        )
    end
  end

  @doc "Continues from the newest valid file, before the instance is ready."
  @spec restore(Instance.t(), t | nil) :: outcome
  def restore(_instance, nil), do: nil

  def restore(%Instance{} = instance, %{path: path}) do
    began = now_ms()

    case Native.checkpoint_restore(path, name(instance), limiters(instance)) do
      {:ok, restored, refused} -> {:ok, restored, refused, now_ms() - began}
      {:error, reason} -> {:error, reason}
    end
  end

  @doc "Reports what `restore/2` did, once the instance can be found by its name."
  @spec report(Instance.t(), outcome) :: :ok
  def report(_instance, nil), do: :ok

  def report(%Instance{name: name} = instance, {:error, reason}) do
    put(instance, %{problem: reason})
    Telemetry.Checkpoint.failed(name, :restore, reason)
  end

  def report(%Instance{name: name} = instance, {:ok, restored, refused, duration_ms}) do
    for {file, reason} <- refused, do: Telemetry.Checkpoint.refused(name, file, reason)
    # The newest one.
    for {file, reason} <- Enum.take(refused, 1),
        do: put(instance, %{problem: "#{file} was refused: #{reason}"})

    if restored,
      do: Telemetry.Checkpoint.restored(name, restored, duration_ms),
      else: :ok
  end

  @doc "Writes a file, and reports so. Does nothing for an instance that has ended."
  @spec save(Instance.t(), t) :: :ok
  def save(%Instance{table: table} = instance, checkpoint) do
    limiters = limiters(instance)

    # Without its limiters the file would be the newest one, and empty. So this is asked after they were listed.
    if :ets.info(table, :size) == :undefined, do: :ok, else: save(instance, checkpoint, limiters)
  end

  defp save(%Instance{name: name} = instance, %{path: path, keep: keep} = checkpoint, limiters) do
    began = now_ms()

    case Native.checkpoint_save(path, keep, name(instance), limiters) do
      {:ok, saved} ->
        put(instance, %{problem: nil, keys: saved.keys, bytes: saved.bytes, at_ms: now_ms()})
        Telemetry.Checkpoint.saved(name, saved, now_ms() - began)

      {:error, reason} ->
        put(instance, %{problem: reason})
        Telemetry.Checkpoint.failed(name, :save, reason)

      # One was removed meanwhile.
      :unknown_limiter ->
        save(instance, checkpoint)
    end
  end

  @doc "Returns the size and the age of the last file, and what went wrong since; `nil` without checkpoints."
  @spec status(Instance.t()) :: map | nil
  def status(%Instance{table: table}) do
    case :ets.lookup(table, @status) do
      [{@status, status}] ->
        {at_ms, status} = Map.pop(status, :at_ms)
        Map.put(status, :age_ms, at_ms && now_ms() - at_ms)

      [] ->
        nil
    end
  rescue
    # The instance has just ended.
    ArgumentError -> nil
  end

  @doc "Begins the status of an instance with checkpoints."
  @spec begin(Instance.t(), t | nil) :: :ok
  def begin(_instance, nil), do: :ok

  def begin(%Instance{table: table}, _checkpoint) do
    :ets.insert(table, {@status, %{problem: nil, keys: nil, bytes: nil, at_ms: nil}})
    :ok
  end

  defp put(%Instance{table: table}, changes) do
    [{@status, status}] = :ets.lookup(table, @status)
    :ets.insert(table, {@status, Map.merge(status, changes)})
  rescue
    # The instance has ended meanwhile.
    ArgumentError -> false
  end

  defp name(%Instance{name: name}), do: :erlang.term_to_binary(name)

  defp limiters(instance),
    do: for({name, handle, _} <- Instance.all(instance), do: {name, handle})

  defp now_ms, do: System.monotonic_time(:millisecond)
end
