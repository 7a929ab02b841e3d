defmodule RateLimiter.Doctor.Shared do
  @moduledoc false
  # The Redis that is named: whether it is reached, may be asked all that is needed, keeps what it is told, and how fast.
  #
  # Under a prefix of its own below the one that is named, so that no limit and no count of nodes is touched.

  alias RateLimiter.{Doctor, Instance, Redis, VSM}
  alias RateLimiter.Doctor.Server

  @limiter :rate_limiter_doctor
  @subsystem :doctor
  @below ":doctor"
  @allowed 10
  @asked 20
  @timed 200
  @patience_ms 10_000
  @agreed_ms 60_000
  @rights "the guide to Redis lists the rights that its user needs"

  @spec examine(:local | {:redis, keyword}) :: [Doctor.finding(), ...]
  def examine(:local) do
    [
      {:ok, "Redis", "none is named: each node counts by itself",
       "REDIS_URL in the environment or --url names one"}
    ]
  end

  def examine({:redis, options}) do
    {:ok, instance} = RateLimiter.start_link(instance(options))

    try do
      %Instance{store: {:redis, store}} = Instance.Supervisor.fetch!(@limiter)
      patience = max(@patience_ms, 2 * Keyword.get(options, :timeout, 0))
      known? = &(connected?(&1) or refused?(&1))
      status = wait(fn -> Redis.Client.status(store) end, known?, patience)
      if connected?(status), do: look(store, status), else: [unreachable(status, patience)]
    after
      Supervisor.stop(instance)
    end
  end

  defp instance(options) do
    prefix = Keyword.get(options, :prefix, "rate_limiter")
    windows = [exact: [limit: @allowed, per: :hour], fast: [limit: 1_000_000, per: :second]]
    quiet = [schedulers: false, run_queue: false, timer: false, memory: false]

    [
      name: @limiter,
      store: {:redis, Keyword.put(options, :prefix, below(prefix))},
      stats_interval: :infinity,
      limiters: [{@limiter, windows: windows, events: :none, on_outage: :deny}],
      vsm: [subsystems: [{@subsystem, limit: 1, per: :second}], interval: 200, sensors: quiet]
    ]
  end

  # One that leaves no room is used as it is: then this counts as a node while it looks.
  defp below(prefix),
    do: if(byte_size(prefix) <= 64 - byte_size(@below), do: prefix <> @below, else: prefix)

  defp connected?(%{servers: [_ | _] = servers}),
    do: Enum.all?(servers, &(&1.connections > 0 and &1.breaker == :closed))

  defp connected?(_status), do: false

  # To wait longer would not help: it said no, or nobody is there who could.
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
        [] -> "no answer within #{div(patience, 1_000)} s"
        known -> Enum.join(known, "; ")
      end

    {:failure, "Redis", "cannot be used: #{why}",
     "until that is changed, limiters do as their :on_outage says. Is it up, is it reached from here (address, port, TLS), and are " <>
       "user and password right?"}
  end

  defp look(store, status) do
    servers = Enum.map_join(status.servers, ", ", & &1.server)
    reached = {:ok, "Redis", "reached: #{servers}", nil}
    decides = decides(store)
    rest = if elem(decides, 0) == :ok, do: [round_trip(), agreement()], else: []
    [reached] ++ Server.examine(store, "#{@limiter}") ++ [decides | rest]
  end

  # More than are allowed, and just those are admitted.
  defp decides(store) do
    id = "#{System.pid()}:#{System.unique_integer()}"

    answers = for _ <- 1..@asked, do: RateLimiter.check_and_track(@limiter, id, :exact)

    RateLimiter.reset(@limiter, id, :exact)
    admitted = Enum.count(answers, &match?({:ok, _}, &1))
    unanswered = Enum.count(answers, &match?({:error, :unavailable, _}, &1))

    cond do
      unanswered > 0 ->
        {:failure, "the script",
         "#{unanswered} of #{@asked} calls had no answer#{because(store)}", @rights}

      admitted == @allowed ->
        {:ok, "the script", "#{admitted} of #{@asked} calls admitted, as many as are allowed",
         nil}

      true ->
        {:failure, "the script", "#{admitted} of #{@asked} calls admitted, and not #{@allowed}",
         "somebody else writes or deletes keys of this prefix, or this is a defect: please report it"}
    end
  end

  defp because(store) do
    %{servers: servers} = Redis.Client.status(store)
    problem = Enum.find_value(servers, & &1.problem)
    if problem, do: ": #{problem}", else: ""
  end

  defp round_trip do
    times =
      for number <- 1..@timed do
        call = fn -> RateLimiter.check_and_track(@limiter, "doctor #{number}", :fast) end
        {us, _answer} = :timer.tc(call)
        us
      end

    median = times |> Enum.sort() |> Enum.at(div(@timed, 2))

    {:ok, "its speed",
     "#{ms(median)} ms a check in the median of #{@timed}, one after the other; #{ms(Enum.max(times))} ms the slowest",
     nil}
  end

  defp agreement do
    agreed? = fn -> VSM.subsystem_metrics(@limiter)[@subsystem].agreement.state == :agreed end
    _known = wait(fn -> agreed?.() or alone() != nil end, & &1, @agreed_ms)

    if agreed?.() do
      {:ok, "agreement", "subsystems of several nodes would agree on their scales", nil}
    else
      {:warning, "agreement", "subsystems of several nodes would go each by its own: #{alone()}",
       "only with `vsm:` this matters; #{@rights}"}
    end
  end

  # Why Redis refuses, in words.
  defp alone do
    alone = &(&1.action == :alone and &1.sentence =~ "Redis says")

    with %{sentence: sentence} <- Enum.find(VSM.explain(@subsystem, @limiter), alone),
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

  defp ms(us), do: Float.round(us / 1_000, 2)
end
