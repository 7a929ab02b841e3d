defmodule RateLimiter.VSM do
  @moduledoc """
  Limits that live: subsystems whose limits follow their health.

  The five subsystems of Stafford Beer's Viable System Model come with `vsm: true`; the option takes your own as well. Each
  is a limit with a law that watches how its work goes, and a scale that the law puts on the limit.

      {RateLimiter, limiters: [...], vsm: true}

      RateLimiter.VSM.run(:s1, operation_id, fn -> Warehouse.book(order) end)

  | subsystem | usual limit | for |
  | --- | --- | --- |
  | `:s1` operations | 100 per second | the work itself, which takes up the most variety |
  | `:s2` coordination | 50 per second | what keeps units from working against each other |
  | `:s3` control | 20 per second | allotting resources |
  | `:s4` intelligence | 100 per minute | learning what is coming |
  | `:s5` policy | 50 per 5 minutes | governing; protected longest |

  ## Where its health comes from

    * `run/4` knows how long the work took, and how it ended. This is the best source: with it the law also bounds how much is at
      work at once, without which no rate protects a queue.
    * A telemetry event that is there already: the option `:health` of a subsystem.
    * `RateLimiter.Algedonic`: whoever notices says so.
    * The sensors of this BEAM, which close this node's gate: `RateLimiter.Health`.

  ## What a call is told

  `check_subsystem_limit/3` and `run/4` answer as `RateLimiter.check_and_track/4` does. The usage's `:window` says what
  turned a call away: `:rate`, the limit; `:in_flight`, too much at work; or `:gate`, this node for its own sake. For
  `:rate`, `retry_after_ms` is exact; for `:in_flight` it is an estimate of when a place is free, and for `:gate` when it
  is judged anew.

  A subsystem's name is its instance's own: a limiter of the application may be called `:s1` as well, and so may the
  subsystem of another instance. All calls take the option `:instance`, or the instance as the last argument.
  """

  alias RateLimiter.Usage
  alias RateLimiter.Core.{Errors, Options}
  alias RateLimiter.Signals.Bypass
  alias RateLimiter.VSM.{Explain, Gate, Metrics, Outcome, Tree}

  @call [
    cost: [
      type: :integer,
      default: 1,
      doc: "how much the call takes."
    ],
    emergency: [
      type: :boolean,
      default: false,
      doc:
        "whether the call may take from the budget for emergencies first: the greater of one a second and 1 % of all " <>
          "limits, a fifth of it for one id. Each use is an event."
    ],
    instance: [type: :any, default: RateLimiter, doc: "the instance of the subsystem."]
  ]

  @run @call ++
         [
           outcome: [
             type:
               {:custom, &__MODULE__.outcome?/1,
                "a function of the result, or one of :ok, :error, :timeout, :rejected and :none"},
             doc:
               "how the work ended, where its result says so in another way: a function that gets the result and " <>
                 "returns `:ok`, `:error`, `:timeout`, `:rejected` or `:none` (no opinion), or one of these. What it raises " <>
                 "passes through, and counts as a failure."
           ]
         ]

  @usual %{cost: 1, emergency: false, instance: RateLimiter, outcome: nil}

  @type answer :: {:ok, Usage.t()} | {:error, :rate_limited, Usage.t()}

  @doc """
  Takes a call's cost from a subsystem's limit, if it allows it.

  A subsystem has one bucket: `id` names who asks, and has no share of its own. Returns `{:ok, usage}` or
  `{:error, :rate_limited, usage}`; it asks no process and never waits.

  ## Options

  #{Options.docs(@call, "  ")}

  ## Examples

      iex> {:ok, usage} = RateLimiter.VSM.check_subsystem_limit(:s3, "planner")
      iex> {usage.max, usage.remaining, usage.scale}
      {20, 19, 1.0}
      iex> {:error, :rate_limited, usage} = RateLimiter.VSM.check_subsystem_limit(:s3, "planner", cost: 20)
      iex> {usage.window, usage.retry_after_ms}
      {:rate, 50}

  Raises `ArgumentError` for a subsystem or an instance that is not there, and for `nil` as an id.
  """
  @spec check_subsystem_limit(atom, RateLimiter.id(), keyword) :: answer
  def check_subsystem_limit(name, id, options \\ []) do
    options = options!(options, @call)
    subsystem = Tree.subsystem!(options.instance, name)

    with :usual <- bypass(subsystem, id, options), do: Gate.check(subsystem, id, options.cost)
  end

  @doc """
  Runs `fun` if the subsystem's limit allows it, and learns from how it went.

  Returns `{:ok, result}`, or `{:error, :rate_limited, usage}` where it was not run. What `fun` raises, throws or exits with passes
  through. It runs in the calling process, and is never interrupted.

  While it runs it has a place at work, which comes back however it ends, also when the process is killed.

  | it ends with | counts as |
  | --- | --- |
  | any other result | success; how long it took is a sample |
  | `{:error, reason}`, a raise, a throw, an exit | failure |
  | an exit because of a timeout, such as that of a `GenServer.call/3` | timeout |
  | `{:error, :rate_limited, usage}`, a normal exit or a shutdown | no opinion |
  | a kill | nothing, but is told in `subsystem_metrics/1` as abandoned |

  ## Options

  #{Options.docs(@run, "  ")}

  ## Examples

      iex> RateLimiter.VSM.run(:s1, "order 7", fn -> :booked end)
      {:ok, :booked}
      iex> RateLimiter.VSM.run(:s1, "order 7", fn -> {:busy, 503} end, outcome: fn {:busy, _} -> :rejected end)
      {:ok, {:busy, 503}}
      iex> {:error, :rate_limited, usage} = RateLimiter.VSM.run(:s1, "order 7", fn -> :booked end, cost: 101)
      iex> usage.retry_after_ms
      :infinity
  """
  @spec run(atom, RateLimiter.id(), (() -> result), keyword) ::
          {:ok, result} | {:error, :rate_limited, Usage.t()}
        when result: term
  def run(name, id, fun, options \\ [])

  def run(name, id, fun, options) when is_function(fun, 0) do
    options = options!(options, @run)
    subsystem = Tree.subsystem!(options.instance, name)

    with {:ok, permit} <- enter(subsystem, id, options), do: work(permit, fun, options.outcome)
  end

  def run(_name, _id, other, _options), do: raise(Errors.bad_function(other))

  @doc """
  How each subsystem is, by name.

    * `:scale` - the factor that is on the limit; `:own_scale`, what its own law put there: a parent's may be less; and
      `:asked_scale`, what the law last said, which a dry run does not apply
    * `:stress`, `:binding`, `:action`, `:held_by`, `:sentence` - what its law last said, and why; `nil` before its first step
    * `:usage` - how much of the limit is used
    * `:agreement` - with a Redis store, how the nodes agree: `:state`, `:agreed` or `:alone`; `:epoch`, how many steps they have
      taken together; `:nodes`, how many they are; `:by`, which of them reckoned the last step. `nil` where there is
      nobody to agree with
    * `:guard` and `:in_flight` - how many may be at work at once, and how many are
    * `:open` - the share of calls that this node's gate lets go on
    * `:demand` - calls a second that ask
    * `:pain` and `:pleasure` - the strongest signal that counts now, and `:sources`, each one's
    * `:contained` - sources that say the worst without end, and are not believed any more
    * `:asked`, `:denied`, `:guarded`, `:shed`, `:abandoned`, `:emergencies` - how often since the start
    * `:parent`, `:floor`, `:ceiling`, `:dry_run` - as configured

  ## Examples

      iex> metrics = RateLimiter.VSM.subsystem_metrics()
      iex> {metrics.s5.scale, metrics.s5.usage.max, metrics.s5.in_flight}
      {1.0, 50, 0}
  """
  @spec subsystem_metrics(instance :: term) :: %{atom => map}
  def subsystem_metrics(instance \\ RateLimiter), do: instance |> Tree.fetch!() |> Metrics.all()

  @doc """
  The last changes of a subsystem's scale and of this node's gate, and what kept them from changing: at most 32, the newest first.

  Each is a map: `:at`, a `DateTime`; `:action`; `:from` and `:to`, scales; `:stress`; `:binding`, the signal that decided;
  `:held_by`; `:sentence`, the same in words; `:subsystem`, `nil` where it is the gate; `:dry_run`; `:agreement` and `:epoch`,
  whether nodes agreed on it. Steps of growth in a row are one
  entry, with `:since` and `:steps`: then `:from` is where the first one began, and all else is of the last.

  ## Examples

      iex> RateLimiter.VSM.explain(:s1)
      []
  """
  @spec explain(atom, instance :: term) :: [Explain.entry()]
  def explain(name, instance \\ RateLimiter) do
    %{table: table} = Tree.subsystem!(instance, name)
    Explain.last(table, name)
  end

  @doc false
  def outcome?(outcome),
    do: is_function(outcome, 1) or outcome in [:ok, :error, :timeout, :rejected, :none]

  defp enter(subsystem, id, options) do
    case bypass(subsystem, id, options) do
      :usual -> Gate.enter(subsystem, id, options.cost)
      {:ok, _usage} -> {:ok, Gate.hold(subsystem.gate)}
    end
  end

  defp bypass(_subsystem, _id, %{emergency: false}), do: :usual

  defp bypass(subsystem, id, options) do
    with :spent <- Bypass.take(subsystem, id, options.cost), do: :usual
  end

  # The permit stays referred to until the work is over, whatever the compiler makes of this: both ways end with it.
  defp work(permit, fun, outcome) do
    result = fun.()
    Gate.finish(permit, Outcome.of_result(result, outcome))
    {:ok, result}
  catch
    kind, reason ->
      Gate.finish(permit, Outcome.of_end(kind, reason))
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp options!([], _schema), do: @usual
  defp options!(options, schema), do: Map.merge(@usual, Options.validate!(options, schema, []))
end
