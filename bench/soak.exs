# Mixed load on all features for so many minutes, while Redis is killed, frozen and refused: memory stays flat, and no process,
# port, file or reply is lost. Prints its verdict, and exits with 1 if something was lost.
#
#     MIX_ENV=test mix run bench/soak.exs [MINUTES]
#
# Without MINUTES it runs for ten.

for file <- ~w(support/machine soak/load soak/faults soak/watch),
    do: Code.require_file("#{file}.exs", __DIR__)

defmodule Bench.Soak do
  alias Bench.Machine
  alias Bench.Soak.{Faults, Load, Watch}
  alias RateLimiter.Support.Redis

  # What has begun once does not begin again: schedulers, code, tables, connections and allocators are warm.
  @warm 0.25

  def run(minutes) do
    Machine.print("Soak")
    IO.puts("#{minutes} minutes; the first #{round(@warm * 100)} % are not judged.\n")
    folder = Path.join(System.tmp_dir!(), "rate_limiter_soak_#{System.pid()}")
    server = Redis.start!()
    Load.start!(server, folder)
    {workers, faults} = {Load.workers(), Faults.start(server)}
    ms = round(minutes * 60_000)

    Process.sleep(round(ms * @warm))
    before = quiet(faults, workers)
    Process.sleep(round(ms * (1 - @warm)))
    later = quiet(faults, workers)

    counts = Load.stop(workers)
    faults = Faults.stop(faults)
    Load.stop!()
    File.rm_rf!(folder)
    verdict(Watch.lost(before, later) ++ Load.lost(counts), counts, faults, {before, later})
  end

  # Both readings are taken without faults and calls, once Redis answers again: a fault has connections of its own.
  defp quiet(faults, workers) do
    Faults.pause(faults)
    Load.pause(workers)
    Redis.ready!(:soak_shared, :bucket)
    reading = Watch.read()
    Load.resume(workers)
    Faults.resume(faults)
    reading
  end

  defp verdict(lost, counts, faults, {before, later}) do
    IO.puts("| | begin | end |\n| --- | --- | --- |")
    for {name, value} <- before, do: IO.puts("| #{name} | #{value} | #{later[name]} |")
    IO.puts("\n#{counts.calls} calls, #{counts.denied} denied; #{faults} faults of Redis.")
    IO.puts("Load average at the end: #{Machine.load()}.\n")
    for sentence <- lost, do: IO.puts("LOST: #{sentence}")
    IO.puts(if lost == [], do: "Passed: nothing was lost.", else: "Failed.")
    lost == []
  end
end

minutes =
  case System.argv() do
    [] -> 10.0
    ["--quick"] -> 0.33
    [text] -> with({minutes, ""} when minutes > 0 <- Float.parse(text), do: minutes)
    _other -> :error
  end

if is_float(minutes) do
  unless Bench.Soak.run(minutes), do: System.halt(1)
else
  IO.puts(:stderr, "expected a number of minutes above 0, got: #{Enum.join(System.argv(), " ")}")
  System.halt(2)
end
