# Bytes a key: the growth of the resident memory of the operating system's process, each subject in a VM of its own.
#
#     MIX_ENV=prod mix run bench/memory.exs [--quick]

for file <- ~w(machine table governor_nif) do
  Code.require_file("support/#{file}.exs", __DIR__)
end

defmodule Bench.Memory.Subject do
  @moduledoc false
  # The growth of the VM that holds the keys.

  alias Bench.GovernorNif

  @limits %{
    "token_bucket" => [limit: 60, per: :hour, burst: 100],
    "sliding_window" => [algorithm: :sliding_window, limit: 100, per: :hour],
    "fixed_window" => [algorithm: :fixed_window, limit: 100, per: :day]
  }

  @doc "Returns the bytes by which the VM grew, and the most by which it had grown meanwhile."
  @spec growth(String.t(), pos_integer) :: {integer, integer}
  def growth(subject, keys) do
    ask = start(subject, keys)
    # A first run, so that memory which the calls take once is not counted for the keys.
    fill(fn _id -> ask.("always the same") end, 100_000)
    {before, _peak} = memory()
    fill(ask, keys)
    {now, peak} = memory()
    {now - before, peak - before}
  end

  defp start("governor", _keys) do
    :ok = GovernorNif.load!()
    &GovernorNif.check/1
  end

  defp start("ets", _keys) do
    table = :ets.new(:bench_ets, [:public, :set, write_concurrency: true])
    &:ets.update_counter(table, &1, 1, {&1, 0})
  end

  defp start(algorithm, keys) do
    window = Map.fetch!(@limits, algorithm)
    limiter = [windows: [each: window], events: :denials, max_keys: 2 * keys]
    {:ok, _pid} = RateLimiter.start_link(stats_interval: :infinity, limiters: [memory: limiter])
    &RateLimiter.check_and_track(:memory, &1, :each)
  end

  # In a process of its own, so that its garbage is freed when it ends.
  defp fill(ask, keys) do
    {pid, monitor} = spawn_monitor(fn -> Enum.each(1..keys, &ask.("user:#{&1 + 10_000_000}")) end)

    receive do: ({:DOWN, ^monitor, _, ^pid, :normal} -> :ok)
  end

  # Linux reports both in kibibytes.
  defp memory do
    status = File.read!("/proc/self/status")
    {kibibytes(status, "VmRSS"), kibibytes(status, "VmHWM")}
  end

  defp kibibytes(status, field) do
    [_line, number] = Regex.run(~r/^#{field}:\s+(\d+) kB$/m, status)
    1_024 * String.to_integer(number)
  end
end

defmodule Bench.Memory do
  @moduledoc false

  alias Bench.{Machine, Table}
  alias Bench.Memory.Subject

  @names %{
    "token_bucket" => "token bucket",
    "fixed_window" => "fixed window",
    "sliding_window" => "sliding window of 10",
    "governor" => "governor keyed by String",
    "ets" => "ets:update_counter, string"
  }
  @full [
    {1_000_000, ~w(token_bucket fixed_window sliding_window governor ets)},
    {10_000_000, ~w(token_bucket fixed_window governor ets)}
  ]
  @quick [{100_000, ~w(token_bucket fixed_window sliding_window governor ets)}]

  def main(["--subject", subject, "--keys", keys]) do
    {now, peak} = Subject.growth(subject, String.to_integer(keys))
    IO.puts("grew #{now} at most #{peak}")
  end

  def main([]), do: run(@full)
  def main(["--quick"]), do: run(@quick)

  defp run(sizes) do
    Machine.print("Memory a key")

    IO.puts("""
    Growth of the resident memory while keys are added (strings of 13 bytes), divided by their number: afterwards, and at
    most meanwhile. Each line is a VM of its own.
    """)

    for {keys, subjects} <- sizes do
      IO.puts("### #{Table.count(keys)} keys\n")
      rows = for subject <- subjects, do: [@names[subject] | apart(subject, keys)]
      Table.print(["", "bytes a key", "at most meanwhile"], rows)
    end
  end

  defp apart(subject, keys) do
    arguments = ["run", "--no-compile", __ENV__.file, "--subject", subject, "--keys", "#{keys}"]
    {output, 0} = System.cmd("mix", arguments, env: [{"MIX_ENV", "#{Mix.env()}"}])
    [_line, now, peak] = Regex.run(~r/^grew (-?\d+) at most (-?\d+)$/m, output)
    for bytes <- [now, peak], do: Table.decimal(String.to_integer(bytes) / keys)
  end
end

Bench.Memory.main(System.argv())
