defmodule RateLimiter.Doctor.Shared do
  @moduledoc false
  # The checks of a Redis: connection, rights, eviction, exactness, speed, agreement.
  #
  # The prefix is below the configured one, so that the checks touch no limit and no count of nodes.

  alias RateLimiter.{Doctor, Instance, Redis, VSM}
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Doctor.Server

  @limiter :rate_limiter_doctor
  @subsystem :doctor
  @below ":doctor"
  @limit 10
  @calls 20
  @timed 200
  @patience_ms 10_000
  @agreed_ms 60_000
  @rights "guides/redis.md lists the rights that its user needs"

  @spec check(:local | {:redis, keyword}) :: [Doctor.finding(), ...]
  def check(:local) do
    [{:ok, "Redis", "not checked: name it by REDIS_URL, --url or :store", nil}]
  end

  def check({:redis, options}) do
    {:ok, instance} = RateLimiter.start_link(instance(options))

    try do
      %Instance{store: {:redis, store}} = Instance.Registry.fetch!(@limiter)
      patience = max(@patience_ms, 2 * Keyword.get(options, :timeout, 0))
      known? = &(connected?(&1) or refused?(&1))
      status = wait(fn -> Redis.Client.status(store) end, known?, patience)
      if connected?(status), do: connected(store, status), else: [unreachable(status, patience)]
    after
      Supervisor.stop(instance)
    end
  end

  defp instance(options) do
    prefix = Keyword.get(options, :prefix, "rate_limiter")
    windows = [exact: [limit: @limit, per: :hour], fast: [limit: 1_000_000, per: :second]]
    quiet = [schedulers: false, run_queue: false, timer: false, memory: false]

    [
      name: @limiter,
      store: {:redis, Keyword.put(options, :prefix, below(prefix))},
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
      known -> not Enum.any?(known, &(&1 =~ "no answer"))
    end
  end

  defp problems(status) do
    problems = [status.problem | Enum.map(status.servers, & &1.problem)]
    problems |> Enum.filter(& &1) |> Enum.uniq()
  end

  defp unreachable(status, patience) do
    why =
      case problems(status) do
        [] -> "no reply within #{div(patience, 1_000)} s"
        known -> Enum.join(known, "; ")
      end

    {:failure, "Redis", "cannot be used: #{why}",
     "#{advice(why)}. Until then, limiters follow their :on_outage"}
  end

  defp advice(why) do
    if why =~ ~r/WRONGPASS|NOAUTH|NOPERM/,
      do: "check user and password; #{@rights}",
      else: "check that Redis runs, and its address, port and TLS as this machine sees them"
  end

  defp connected(store, status) do
    servers = Enum.map_join(status.servers, ", ", & &1.server)
    exactness = exactness(store)
    rest = if elem(exactness, 0) == :ok, do: [nodes(store), speed(), agreement()], else: []

    [{:ok, "Redis", "connected: #{servers}", nil}] ++
      Server.check(store, "#{@limiter}") ++ [exactness | rest]
  end

  defp exactness(store) do
    id = "#{System.pid()}:#{System.unique_integer()}"

    answers = for _ <- 1..@calls, do: RateLimiter.check_and_track(@limiter, id, :exact)

    RateLimiter.reset(@limiter, id, :exact)
    admitted = Enum.count(answers, &match?({:ok, _}, &1))
    unanswered = Enum.count(answers, &match?({:error, :unavailable, _}, &1))

    cond do
      unanswered > 0 ->
        {:failure, "script", "#{unanswered} of #{@calls} calls got no reply#{because(store)}",
         @rights}

      admitted == @limit ->
        {:ok, "script", "#{admitted} of #{@calls} calls admitted by a limit of #{@limit}", nil}

      true ->
        {:failure, "script", "#{admitted} of #{@calls} calls admitted by a limit of #{@limit}",
         "another client writes or deletes keys of this prefix, or this is a defect: please report it"}
    end
  end

  defp because(store) do
    %{servers: servers} = Redis.Client.status(store)
    problem = Enum.find_value(servers, & &1.problem)
    if problem, do: ": #{problem}", else: ""
  end

  # The instance reports its node as soon as it is connected, so Redis has answered by now.
  defp nodes(store) do
    case Redis.Client.status(store) do
      %{heartbeat: nil} ->
        {:ok, "nodes", "nodes can count each other, so that each knows its share in an outage",
         nil}

      %{heartbeat: reason} ->
        {:warning, "nodes", "nodes cannot count each other: #{reason}",
         "in an outage each divides limits by the option nodes:; #{@rights}"}
    end
  end

  defp speed do
    times =
      for number <- 1..@timed do
        call = fn -> RateLimiter.check_and_track(@limiter, "doctor #{number}", :fast) end
        {us, _answer} = :timer.tc(call)
        us
      end

    median = times |> Enum.sort() |> Enum.at(div(@timed, 2))

    {:ok, "speed",
     "a check takes #{ms(median)} ms in the median of #{@timed} in sequence, and #{ms(Enum.max(times))} ms at most",
     nil}
  end

  defp agreement do
    agreed? = fn -> VSM.subsystem_metrics(@limiter)[@subsystem].agreement.state == :agreed end
    _known = wait(fn -> agreed?.() or refusal() != nil end, & &1, @agreed_ms)

    if agreed?.() do
      {:ok, "agreement", "subsystems of several nodes can agree on their scales", nil}
    else
      {:warning, "agreement",
       "subsystems of several nodes cannot agree on their scales: #{refusal()}",
       "matters only with `vsm:`; #{@rights}"}
    end
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
