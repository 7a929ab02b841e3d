# How long a checkpoint takes to write and to read, how large it is, and what the calls notice meanwhile.
#
#     MIX_ENV=prod mix run bench/checkpoint.exs [--quick]

Code.require_file("support/machine.exs", __DIR__)

defmodule Bench.Checkpoint do
  alias Bench.Machine
  alias RateLimiter.Instance.{Checkpoint, Registry}

  @windows [
    {"token bucket", [day: [limit: 1_000, per: :day]]},
    {"sliding window", [day: [algorithm: :sliding_window, limit: 1_000, per: :day]]},
    {"both",
     [
       a: [limit: 1_000, per: :day],
       b: [algorithm: :sliding_window, limit: 1_000, per: :day]
     ]}
  ]

  def run(keys) do
    Machine.print("Checkpoints")

    IO.puts(
      "#{keys} ids of one limiter. A process checks one id after the other meanwhile; the table has its slowest calls.\n"
    )

    IO.puts(
      "| windows | bytes an id | write | read | p99.9 of a check | p99.9 meanwhile | calls meanwhile |"
    )

    IO.puts("| --- | --- | --- | --- | --- | --- | --- |")
    for {name, windows} <- @windows, do: row(name, windows, keys)
    IO.puts("\nLoad average at the end: #{Machine.load()}.\n")
  end

  defp row(name, windows, keys) do
    path = Path.join(System.tmp_dir!(), "rate_limiter_checkpoint_#{System.pid()}")

    options = [
      name: __MODULE__,
      limiters: [checkpointed: [windows: windows, events: :none]],
      checkpoint: [path: path],
      log: false
    ]

    {:ok, instance} = RateLimiter.start_link(options)

    for id <- 1..keys,
        do: {:ok, _} = RateLimiter.check_and_track(:checkpointed, id, cost: rem(id, 1_000) + 1)

    quiet = durations(keys, fn -> Process.sleep(500) end)

    busy =
      durations(keys, fn ->
        :ok =
          Checkpoint.save(
            Registry.instance(__MODULE__),
            Checkpoint.new!(options[:checkpoint], [])
          )
      end)

    send_to = self()

    :telemetry.attach_many(
      __MODULE__,
      [[:rate_limiter, :checkpoint, :saved], [:rate_limiter, :checkpoint, :restored]],
      fn [_, _, change], measurements, _, _ ->
        send(send_to, {change, measurements})
      end,
      nil
    )

    :ok = Supervisor.stop(instance)
    {:ok, instance} = RateLimiter.start_link(options)
    %{keys: ^keys, bytes: bytes, duration_ms: write} = take(:saved)
    %{keys: ^keys, duration_ms: read} = take(:restored)
    :telemetry.detach(__MODULE__)
    :ok = Supervisor.stop(instance)
    File.rm_rf!(path)

    IO.puts(
      "| #{name} | #{Float.round(bytes / keys, 1)} | #{write} ms | #{read} ms | #{slow(quiet)} | #{slow(busy)} | #{length(busy)} |"
    )
  end

  defp take(change), do: receive(do: ({^change, measurements} -> measurements))

  # Microseconds of single calls while `fun` runs.
  defp durations(keys, fun) do
    parent = self()
    caller = spawn_link(fn -> call(parent, keys, 1, []) end)
    fun.()
    send(caller, :stop)
    receive do: ({:durations, durations} -> durations)
  end

  defp call(parent, keys, id, durations) do
    from = System.monotonic_time(:nanosecond)
    RateLimiter.allow?(:checkpointed, id)
    took = System.monotonic_time(:nanosecond) - from

    receive do
      :stop -> send(parent, {:durations, durations})
    after
      0 -> call(parent, keys, rem(id * 7 + 1, keys) + 1, [took | durations])
    end
  end

  defp slow(durations) do
    sorted = Enum.sort(durations)
    "#{Float.round(Enum.at(sorted, div(length(sorted) * 999, 1_000)) / 1_000, 1)} us"
  end
end

Bench.Checkpoint.run(if "--quick" in System.argv(), do: 20_000, else: 1_000_000)
