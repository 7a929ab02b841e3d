defmodule Bench.Soak.Load do
  @moduledoc false
  # Processes that call everything, and count that each call has its answer.

  alias RateLimiter.Support.Redis

  @workers 8
  @ids 2_000
  @windows [
    bucket: [limit: 50, per: :second],
    sliding: [algorithm: :sliding_window, limit: 80, per: :second],
    log: [algorithm: :sliding_log, limit: 40, per: :second],
    fixed: [algorithm: :fixed_window, limit: 60, per: :second]
  ]

  @spec start!(Redis.t() | struct, String.t()) :: :ok
  def start!(server, folder) do
    Process.put(:instances, [])

    instances = [
      [
        name: :soak_local,
        limiters: [
          soak_local: [windows: @windows, threshold: 0.8, top: 20],
          soak_full: [windows: [bucket: @windows[:bucket]], max_keys: 500]
        ],
        checkpoint: [path: folder, every: 250, keep: 2],
        vsm: [subsystems: [{:soak_work, limit: 200, per: :second}], interval: 200],
        stats_interval: 500
      ],
      [
        name: :soak_redis,
        limiters: [
          soak_shared: [windows: @windows],
          soak_deny: [windows: [bucket: @windows[:bucket]], on_outage: :deny]
        ],
        store: {:redis, url: Redis.url(server), prefix: "soak", nodes: 1, timeout: 100},
        log: false
      ]
    ]

    for options <- instances do
      {:ok, pid} = RateLimiter.start_link(options)
      Process.put(:instances, [pid | Process.get(:instances)])
    end

    Redis.ready!(:soak_shared, :bucket)
    :ok
  end

  @spec stop!() :: :ok
  def stop!, do: Enum.each(Process.get(:instances), &Supervisor.stop/1)

  @spec workers() :: [pid]
  def workers, do: for(seed <- 1..@workers, do: spawn_link(fn -> work(seed) end))

  @spec pause([pid]) :: :ok
  def pause(workers), do: ask(workers, :pause)

  @spec resume([pid]) :: :ok
  def resume(workers), do: Enum.each(workers, &send(&1, :resume))

  @doc "Ends the workers. Returns their counts together."
  @spec stop([pid]) :: map
  def stop(workers) do
    for worker <- workers, do: send(worker, {:stop, self()})

    counts =
      for worker <- workers do
        receive do: ({:counts, ^worker, counts} -> counts)
      end

    Enum.reduce(counts, &Map.merge(&1, &2, fn _key, one, other -> join(one, other) end))
  end

  defp join(a, b) when is_integer(a), do: a + b
  defp join(a, b), do: a ++ b

  @doc "Returns a sentence about each thing that the counts show to be lost."
  @spec lost(map) :: [String.t()]
  def lost(%{calls: calls, answers: answers, leftover: leftover, raised: raised}) do
    for {true, sentence} <- [
          {calls == 0, "no call was made"},
          {calls != answers, "#{calls - answers} of #{calls} calls had no answer"},
          {leftover > 0, "#{leftover} messages were left in the mailboxes of callers"},
          {raised != [], "calls raised: #{Enum.join(Enum.uniq(raised), "; ")}"}
        ],
        do: sentence
  end

  defp ask(workers, request) do
    for worker <- workers, do: send(worker, {request, self()})

    for worker <- workers do
      receive do: ({:done, ^worker} -> :ok)
    end

    :ok
  end

  defp work(seed) do
    :rand.seed(:exsss, {seed, 2, 3})
    loop(%{calls: 0, answers: 0, denied: 0, leftover: 0, raised: []})
  end

  defp loop(counts) do
    receive do
      {:pause, from} ->
        send(from, {:done, self()})
        receive do: (:resume -> loop(counts))

      {:stop, from} ->
        send(from, {:counts, self(), %{counts | leftover: length(messages())}})
    after
      0 -> counts |> call() |> loop()
    end
  end

  # The requests of the soak itself come later.
  defp messages, do: self() |> Process.info(:messages) |> elem(1)

  defp call(counts) do
    counts = %{counts | calls: counts.calls + 1}

    number = :rand.uniform(@ids)
    id = Enum.random([number, "id #{number}", {:user, number}])

    limiter = Enum.random([:soak_local, :soak_shared, :soak_shared, :soak_full, :soak_deny])

    try do
      one(:rand.uniform(100), limiter, id)
    rescue
      error -> %{counts | raised: [Exception.message(error) | counts.raised]}
    else
      answer ->
        denied = if match?({:error, _, _}, answer), do: 1, else: 0
        %{counts | answers: counts.answers + 1, denied: counts.denied + denied}
    end
  end

  defp one(dice, limiter, id) when dice <= 50,
    do: RateLimiter.check_and_track(limiter, id, :bucket, cost: :rand.uniform(3))

  defp one(dice, limiter, id) when dice <= 58,
    do: RateLimiter.check_and_track(limiter, id, request_id: "#{:rand.uniform(@ids)}")

  defp one(dice, limiter, id) when dice <= 64, do: RateLimiter.allow?(limiter, id)
  defp one(dice, limiter, id) when dice <= 70, do: RateLimiter.get_usage(limiter, id, :bucket)
  defp one(dice, limiter, id) when dice <= 74, do: RateLimiter.reset(limiter, id)

  defp one(dice, limiter, id) when dice <= 80 do
    with {:ok, usage} <- RateLimiter.check_and_track(limiter, id, :bucket),
         do: RateLimiter.refund(usage)
  end

  defp one(dice, limiter, _id) when dice <= 86,
    do: RateLimiter.check_batch(limiter, for(_ <- 1..20, do: {:rand.uniform(@ids), 1}), :bucket)

  defp one(dice, limiter, id) when dice <= 89,
    do: RateLimiter.await(limiter, id, :bucket, timeout: 20)

  defp one(dice, _limiter, id) when dice <= 92,
    do: RateLimiter.VSM.run(:soak_work, id, fn -> Process.sleep(1) end, instance: :soak_local)

  # A caller that dies while it waits.
  defp one(dice, limiter, id) when dice <= 94 do
    pid = spawn(fn -> RateLimiter.check_and_track(limiter, id) end)
    Process.exit(pid, :kill)
  end

  defp one(95, _limiter, _id),
    do: RateLimiter.update_limit(:soak_local, :bucket, limit: 40 + :rand.uniform(20))

  defp one(96, _limiter, _id) do
    name = :"soak_extra_#{:erlang.phash2(self(), 64)}"
    :ok = RateLimiter.add_limiter(name, [windows: @windows], :soak_local)
    RateLimiter.check_and_track(name, 1)
    RateLimiter.remove_limiter(name)
  end

  defp one(97, _limiter, _id), do: RateLimiter.top(:soak_local, :bucket, 5)
  defp one(98, _limiter, _id), do: RateLimiter.stats(Enum.random([:soak_local, :soak_redis]))
  defp one(99, _limiter, _id), do: RateLimiter.health_check(:soak_redis)

  defp one(100, _limiter, _id),
    do: RateLimiter.Metrics.prometheus() |> IO.iodata_length()
end
