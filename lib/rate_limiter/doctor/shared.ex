defmodule RateLimiter.Doctor.Shared do
  @moduledoc false
  # The checks of a Redis: connection, rights, eviction, exactness, distance, nodes, agreement.
  #
  # The prefix is below the configured one, so that the checks touch no limit and no count of nodes.

  alias RateLimiter.{Doctor, Instance, Redis, VSM}
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Doctor.{Mend, Rights, Server}

  @limiter :rate_limiter_doctor
  @subsystem :doctor
  @below ":doctor"
  @limit 10
  @calls 20
  @timed 200
  @timed_us 2_000_000
  @patience_ms 10_000
  @agreed_ms 60_000
  # Enough that each shard of a Cluster decides about some of them.
  @ids_of_a_shard 8

  @spec check(:local | {:redis | module, keyword}) :: [Doctor.finding(), ...]
  def check(:local) do
    [{:ok, "Redis", "not checked: name it by REDIS_URL, --url or :store", nil}]
  end

  def check({:redis, options}) do
    options = Keyword.update(options, :prefix, below("rate_limiter"), &below/1)
    config = Redis.Config.new!(options)

    checked =
      on_instance(options, fn store ->
        patience = max(@patience_ms, 2 * max(config.timeout, config.connect_timeout))
        known? = &(connected?(&1) or refused?(&1))
        status = wait(fn -> Redis.Client.status(store) end, known?, patience)

        if connected?(status),
          do: connected(store, status, config),
          else: {:unreachable, status, patience}
      end)

    # Another instance may be needed to find out why.
    with {:unreachable, status, patience} <- checked,
         do: [unreachable(status, patience, config, options)]
  end

  def check({store, _options}) do
    [{:ok, inspect(store), "not checked: run its tests with RateLimiter.Store.Conformance", nil}]
  end

  defp on_instance(options, check) do
    {:ok, instance} = options |> instance() |> RateLimiter.start_link()

    try do
      %Instance{store: {:redis, store}} = Instance.Registry.fetch!(@limiter)
      check.(store)
    after
      Supervisor.stop(instance)
    end
  end

  defp instance(options) do
    windows = [exact: [limit: @limit, per: :hour], fast: [limit: 1_000_000, per: :second]]
    quiet = [schedulers: false, run_queue: false, timer: false, memory: false]

    [
      name: @limiter,
      store: {:redis, options},
      stats_interval: :infinity,
      log: false,
      limiters: [{@limiter, windows: windows, events: :none, on_outage: :deny}],
      vsm: [subsystems: [{@subsystem, limit: 1, per: :second}], interval: 200, sensors: quiet]
    ]
  end

  # A prefix that leaves no room is used as it is. Then this counts as one more node while the checks run.
  defp below(prefix),
    do: if(byte_size(prefix) <= 64 - byte_size(@below), do: prefix <> @below, else: prefix)

  defp connected?(%{servers: [_ | _] = servers}),
    do: Enum.all?(servers, &(&1.connections > 0 and &1.breaker == :closed))

  defp connected?(_status), do: false

  # A refusal is final; waiting longer would not change it.
  defp refused?(status) do
    case problems(status) do
      [] -> false
      known -> not Enum.any?(known, &(&1 =~ ~r/no answer within [^,]*$/))
    end
  end

  defp problems(status) do
    problems = [status.problem | Enum.map(status.servers, & &1.problem)]
    problems |> Enum.filter(& &1) |> Enum.uniq()
  end

  defp unreachable(status, patience, config, options) do
    why =
      case problems(status) do
        [] -> "no reply within #{div(patience, 1_000)} s"
        known -> Enum.join(known, "; ")
      end

    {:failure, "Redis", "cannot be used: #{why}",
     "#{advice(why, config, options)}. Until then, limiters follow their :on_outage"}
  end

  # A Sentinel and a server without EVALSHA repeat our bytes in an error that cannot be read.
  defp advice(why, %{topology: {:server, {:tcp, host, port}}} = config, options) do
    cond do
      not (why =~ "the first reply cannot be read") ->
        Mend.of(why)

      sentinel?({host, port}, config, options) ->
        "this is a Sentinel: name it by sentinels: (--sentinels), and its group by group: (--group)"

      true ->
        "the server or a proxy refuses EVALSHA, or is not a Redis: allow EVALSHA, or connect to Redis itself"
    end
  end

  defp advice(why, _config, _options), do: Mend.of(why)

  # Only a Sentinel knows, or says that it does not know, a group of primaries.
  defp sentinel?(address, config, options) do
    options
    |> Keyword.drop([:url, :host, :port, :database])
    |> Keyword.merge(
      sentinels: [address],
      group: "#{@limiter}",
      ssl: options[:ssl] || config.ssl != nil
    )
    |> on_instance(fn store ->
      status = wait(fn -> Redis.Client.status(store) end, &(&1.problem != nil), @patience_ms)
      "#{status.problem}" =~ "does not know the group"
    end)
  end

  defp connected(store, status, %{prefix: prefix, timeout: timeout}) do
    servers = Enum.map_join(status.servers, ", ", & &1.server)
    key = "#{prefix}:{rights}"
    missing = Rights.missing(store, key)
    exactness = exactness(store, length(status.servers))
    distance = store |> Redis.Client.status() |> distance(timeout)
    checks = Server.check(store, key) ++ [rights(missing), exactness, distance]

    rest =
      if elem(exactness, 0) == :ok,
        do: [nodes(store, missing.nodes), speed(), agreement(missing.agreement)],
        else: []

    [{:ok, "Redis", "connected: #{servers}", nil}] ++ checks ++ evicting(status) ++ rest
  end

  # One server is checked by its INFO, which shows more.
  defp evicting(%{servers: [_only]}), do: []

  defp evicting(%{servers: servers}) do
    for %{server: server, evicts: policy} when policy != nil <- servers do
      {:warning, "memory", "#{server}: #{policy}: when it is full, it evicts keys",
       "set maxmemory-policy noeviction on each server"}
    end
  end

  defp rights(%{calls: []}),
    do: {:ok, "rights", "its user may run all commands that calls need", nil}

  defp rights(%{calls: missing}) do
    {:failure, "rights", "its user lacks #{list(missing)}: some calls are answered without Redis",
     "grant them by ACL SETUSER; guides/redis.md lists all rights"}
  end

  defp list(rights), do: Enum.map_join(rights, " ", &"+#{&1}")

  defp exactness(store, servers) do
    ids = if servers == 1, do: 1, else: servers * @ids_of_a_shard
    answers = Enum.map(1..ids, fn _ -> answers() end)
    all = Enum.concat(answers)
    unanswered = Enum.count(all, &match?({:error, :unavailable, _}, &1))
    admitted = Enum.map(answers, fn answers -> Enum.count(answers, &match?({:ok, _}, &1)) end)
    wrong = Enum.find(admitted, &(&1 != @limit))
    result = "#{wrong || @limit} of #{@calls} calls admitted by a limit of #{@limit}"

    cond do
      unanswered > 0 ->
        why = problem(store)

        {:failure, "script", "#{unanswered} of #{length(all)} calls got no reply: #{why}",
         Mend.of(why)}

      wrong == nil ->
        {:ok, "script", result, nil}

      true ->
        {:failure, "script", result,
         "another client writes or deletes keys of this prefix, or this is a defect: please report it"}
    end
  end

  defp answers do
    id = "#{System.pid()}:#{System.unique_integer()}"
    answers = for _ <- 1..@calls, do: RateLimiter.check_and_track(@limiter, id, :exact)
    RateLimiter.reset(@limiter, id, :exact)
    answers
  end

  defp problem(store),
    do: store |> Redis.Client.status() |> problems() |> Enum.at(0, "no reason is known")

  @doc "Compares the round trip in a status with the deadline of a call."
  @spec distance(map, pos_integer) :: Doctor.finding()
  def distance(%{servers: servers}, timeout) do
    # Twice: for what a busy machine or network adds to it.
    us = servers |> Enum.map(& &1.round_trip_us) |> Enum.max(fn -> 0 end)
    result = "a round trip takes #{ms(us)} ms; the deadline of a call, timeout:, is #{timeout} ms"

    if 2 * us <= timeout * 1_000,
      do: {:ok, "distance", result, nil},
      else:
        {if(us < timeout * 1_000, do: :warning, else: :failure), "distance", result,
         "set timeout: (--timeout) to #{10 + div(2 * us, 1_000)} or more, or move Redis closer: a late call is " <>
           "answered without Redis"}
  end

  # The instance reports its node as soon as it is connected, so Redis has answered by now.
  defp nodes(store, missing) do
    case {missing, Redis.Client.status(store)} do
      {[_ | _], _status} -> uncounted("its user lacks #{list(missing)}")
      {[], %{heartbeat: nil}} -> counted()
      {[], %{heartbeat: reason}} -> uncounted(reason)
    end
  end

  defp counted,
    do:
      {:ok, "nodes", "nodes can count each other, so that each knows its share in an outage", nil}

  defp uncounted(why) do
    {:warning, "nodes", "nodes cannot count each other: #{why}",
     "in an outage each divides limits by the option nodes:; guides/redis.md lists the rights that its user needs"}
  end

  defp speed do
    end_us = System.monotonic_time(:microsecond) + @timed_us

    times =
      for number <- 1..@timed, System.monotonic_time(:microsecond) < end_us do
        call = fn -> RateLimiter.check_and_track(@limiter, "doctor #{number}", :fast) end
        {us, _answer} = :timer.tc(call)
        us
      end

    median = times |> Enum.sort() |> Enum.at(div(length(times), 2))

    {:ok, "speed",
     "a check takes #{ms(median)} ms in the median of #{length(times)} in sequence, and #{ms(Enum.max(times))} ms at most",
     nil}
  end

  defp agreement([]) do
    agreed? = fn -> VSM.subsystem_metrics(@limiter)[@subsystem].agreement.state == :agreed end
    _known = wait(fn -> agreed?.() or refusal() != nil end, & &1, @agreed_ms)

    if agreed?.(),
      do: {:ok, "agreement", "subsystems of several nodes can agree on their scales", nil},
      else: disagreed(refusal())
  end

  defp agreement(missing), do: disagreed("its user lacks #{list(missing)}")

  defp disagreed(why) do
    {:warning, "agreement", "subsystems of several nodes cannot agree on their scales: #{why}",
     "matters only with `vsm:`; guides/redis.md lists the rights that its user needs"}
  end

  # The sentence that quotes Redis, of those that explain why this node decides alone.
  defp refusal do
    refusal = &(&1.action == :alone and &1.sentence =~ "Redis replied")

    with %{sentence: sentence} <- Enum.find(VSM.explain(@subsystem, @limiter), refusal),
         do: sentence
  end

  defp wait(look, enough?, patience_ms),
    do: wait_until(look, enough?, System.monotonic_time(:millisecond) + patience_ms)

  defp wait_until(look, enough?, deadline_ms) do
    seen = look.()

    if enough?.(seen) or System.monotonic_time(:millisecond) > deadline_ms do
      seen
    else
      Process.sleep(20)
      wait_until(look, enough?, deadline_ms)
    end
  end

  defp ms(us), do: Numbers.number(us / 1_000)
end
