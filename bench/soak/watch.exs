defmodule Bench.Soak.Watch do
  @moduledoc false
  # What a node holds, and what of it has grown.

  # Allocators keep some of what they had, and the tables of ids grow and shrink in steps.
  @memory_mb 48
  @memory_share 0.25
  # Timers and tasks of the runtime come and go.
  @some 3

  @spec read() :: keyword(non_neg_integer)
  def read do
    # Idle ids leave within some seconds, and what they leave goes back to the system.
    Process.sleep(3_000)
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    RateLimiter.Store.release_memory()

    [
      processes: length(Process.list()),
      ports: length(Port.list()),
      files: files(),
      atoms: :erlang.system_info(:atom_count),
      ets_tables: length(:ets.all()),
      erlang_mb: mb(:erlang.memory(:total)),
      resident_mb: resident()
    ]
  end

  @doc "Returns a sentence about each thing that has grown."
  @spec lost(keyword, keyword) :: [String.t()]
  def lost(before, later) do
    for {name, had} <- before,
        later[name] > limit(name, had),
        do: "#{name} grew from #{had} to #{later[name]}, expected at most #{limit(name, had)}"
  end

  defp limit(name, had) when name in [:erlang_mb, :resident_mb],
    do: round(had + max(@memory_mb, had * @memory_share))

  # Names of limiters and modules that are first used later.
  defp limit(:atoms, had), do: had + 500
  defp limit(_name, had), do: had + @some

  defp files do
    case File.ls("/proc/self/fd") do
      {:ok, files} -> length(files)
      {:error, _no_linux} -> 0
    end
  end

  defp resident do
    case File.read("/proc/self/statm") do
      {:ok, pages} ->
        pages |> String.split() |> Enum.at(1) |> String.to_integer() |> Kernel.*(4_096) |> mb()

      {:error, _no_linux} ->
        0
    end
  end

  defp mb(bytes), do: div(bytes, 1_048_576)
end
