defmodule RateLimiter.VSM do
  @moduledoc """
  Adaptive limits: subsystems whose limits follow their health.

  A *subsystem* is a limit with a control law. The law observes how the subsystem's work goes, and sets a *scale*, the
  factor for the limit. `vsm: true` starts the five subsystems of Stafford Beer's Viable System Model; `vsm:` also takes
  your own.

      {RateLimiter, limiters: [...], vsm: true}

      RateLimiter.VSM.run(:s1, operation_id, fn -> Warehouse.book(order) end)

  | subsystem | default limit | purpose |
  | --- | --- | --- |
  | `:s1` operations | 100 per second | the primary work, with the most variety |
  | `:s2` coordination | 50 per second | keeps units from disturbing each other |
  | `:s3` control | 20 per second | allocates resources |
  | `:s4` intelligence | 100 per minute | observes the environment |
  | `:s5` policy | 50 per 5 minutes | governs; protected longest |

  ## Sources of health

    * `run/4` measures how long the work takes and how it ends. This is the best source: with it, the law also limits how
      many calls are in flight, without which no rate limit bounds a queue.
    * An existing telemetry event: the option `:health` of a subsystem.
    * `RateLimiter.Algedonic`: signals of pain and pleasure from any process.
    * The sensors of this BEAM, which close this node's *gate*: `RateLimiter.Health`.

  ## Answers

  `check_subsystem_limit/3` and `run/4` answer as `RateLimiter.check_and_track/4` does. The `:window` of the usage says
  what denied a call:

  | `:window` | the call was denied because | `retry_after_ms` is |
  | --- | --- | --- |
  | `:rate` | the limit is used up | exact |
  | `:in_flight` | too many calls are in flight | an estimate of when one of them finishes |
  | `:gate` | this node protects itself | the time until the gate is set again |

  A subsystem's name belongs to its instance: a limiter may have the same name, and so may a subsystem of another
  instance. All functions take the option `:instance`, or the instance as their last argument.
  """

  alias RateLimiter.Usage
  alias RateLimiter.Core.{Errors, Options}
  alias RateLimiter.Signals.Bypass
  alias RateLimiter.VSM.{Explain, Gate, Metrics, Outcome, Tree}

  @call [
    cost: [
      type: :integer,
      default: 1,
      doc: "how much of the limit the call consumes."
    ],
    emergency: [
      type: :boolean,
      default: false,
      doc:
        "whether the call first uses the budget for emergencies: the greater of one per second and 1 % of all limits, " <>
          "of which one id gets a fifth, and each call consumes at least 1. Each use is an event."
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
               "how the work ended, if its result does not show it: `:ok`, `:error`, `:timeout`, `:rejected` or `:none` " <>
                 "(not counted), or a function that gets the result and returns one of these. If the function raises, the " <>
                 "call raises, and the work counts as failed."
           ]
         ]

  @defaults %{cost: 1, emergency: false, instance: RateLimiter, outcome: nil}

  @type explanation :: %{
          at: DateTime.t(),
          at_ms: integer,
          subsystem: atom | nil,
          action: atom,
          from: float,
          to: float,
          stress: float,
          binding: term,
          held_by: term,
          sentence: String.t(),
          since: DateTime.t(),
          steps: pos_integer,
          dry_run: boolean,
          agreement: :agreed | :alone | nil,
          epoch: pos_integer | nil
        }

  @type answer :: {:ok, Usage.t()} | {:error, :rate_limited, Usage.t()}

  @doc """
  Checks a call against a subsystem's limit and consumes its cost if the call is admitted.

  Returns `{:ok, usage}` or `{:error, :rate_limited, usage}`. It calls no process and never waits. A subsystem has one
  bucket for all callers: `id` identifies the caller in events, and has no limit of its own.

  ## Options

  #{Options.docs(@call, "  ")}

  ## Examples

      iex> {:ok, usage} = RateLimiter.VSM.check_subsystem_limit(:s3, "planner")
      iex> {usage.max, usage.remaining, usage.scale}
      {20, 19, 1.0}
      iex> {:error, :rate_limited, usage} = RateLimiter.VSM.check_subsystem_limit(:s3, "planner", cost: 20)
      iex> {usage.window, usage.retry_after_ms}
      {:rate, 50}

  Raises `ArgumentError` for an unknown subsystem or instance, and for `nil` as an id.
  """
  @spec check_subsystem_limit(atom, RateLimiter.id(), keyword) :: answer
  def check_subsystem_limit(name, id, options \\ []) do
    options = options!(options, @call)
    subsystem = Tree.subsystem!(options.instance, name)

    with :usual <- bypass(subsystem, id, options), do: Gate.check(subsystem, id, options.cost)
  end

  @doc """
  Runs a zero-arity function if the subsystem's limit admits the call, and reports its duration and outcome to the law.

  Returns `{:ok, result}`, or `{:error, :rate_limited, usage}` if the function was not run. It runs in the calling process
  and is never interrupted. If it raises, throws or exits, so does this call.

  The call is in flight until the function ends, in any way, including a kill of the process.

  | the function ends with | counts as |
  | --- | --- |
  | `{:error, reason}`, a raise, a throw, an exit | failure |
  | an exit because of a timeout, such as that of `GenServer.call/3` | timeout |
  | `{:error, :rate_limited, usage}`, a normal exit, a shutdown | not counted |
  | a kill of the process | abandoned, in `subsystem_metrics/1` only |
  | any other result | success, with its duration |

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
  @spec run(atom, RateLimiter.id(), (... -> result), keyword) ::
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
  Returns the present state of each subsystem, by name.

    * `:scale` - the factor for the limit in force
    * `:own_scale` - the scale of the subsystem's own law; the scale in force is lower if a parent's is
    * `:asked_scale` - the scale that the law decided last; a dry run does not apply it
    * `:stress`, `:binding`, `:action`, `:held_by`, `:sentence` - the law's last decision, as in
      `RateLimiter.Adaptive.Decision`; `nil` before its first step
    * `:usage` - how much of the limit is used
    * `:guard`, `:in_flight` - how many calls may be in flight at once, and how many are
    * `:open` - the share of calls that this node's gate admits
    * `:demand` - calls per second that arrive
    * `:pain`, `:pleasure` - the strongest present level, and `:sources`, the level of each source
    * `:contained` - sources that reported great pain for too long and are no longer trusted
    * `:asked`, `:denied`, `:guarded`, `:shed`, `:abandoned`, `:emergencies` - counts since the start: calls that arrived,
      that the limit, the guard and the gate denied, whose process was killed, and that used the emergency budget
    * `:agreement` - with a Redis store, the agreement of the nodes: `:state`, `:agreed` or `:alone`; `:epoch`, the number of
      agreed steps; `:nodes`, the number of nodes; `:by`, the node that computed the last step. `nil` without an agreement
    * `:parent`, `:floor`, `:ceiling`, `:dry_run` - as configured

  ## Examples

      iex> metrics = RateLimiter.VSM.subsystem_metrics()
      iex> {metrics.s5.scale, metrics.s5.usage.max, metrics.s5.in_flight}
      {1.0, 50, 0}
  """
  @spec subsystem_metrics(instance :: term) :: %{atom => map}
  def subsystem_metrics(instance \\ RateLimiter), do: instance |> Tree.fetch!() |> Metrics.all()

  @doc """
  Returns the last changes of a subsystem's scale and of this node's gate, and the reasons for no change: at most 32, the
  newest first.

  Each entry is a map:

    * `:at` - a `DateTime`
    * `:action`, `:stress`, `:binding`, `:held_by` - as in `RateLimiter.Adaptive.Decision`
    * `:from`, `:to` - the scale before and after
    * `:sentence` - the explanation with its numbers
    * `:subsystem` - `nil` for an entry about the gate
    * `:dry_run` - whether the change was computed and not applied
    * `:agreement`, `:epoch` - whether the nodes agreed on the step, and its number
    * `:since`, `:steps` - consecutive steps of growth are one entry: it counts the steps since the first one, whose scale
      is `:from`

  ## Examples

      iex> RateLimiter.VSM.explain(:s1)
      []
  """
  @spec explain(atom, instance :: term) :: [explanation]
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

  # Both branches use the permit, so that it is not garbage collected before the work has ended.
  defp work(permit, fun, outcome) do
    result = fun.()
    Gate.finish(permit, Outcome.of_result(result, outcome))
    {:ok, result}
  catch
    kind, reason ->
      Gate.finish(permit, Outcome.of_end(kind, reason))
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp options!([], _schema), do: @defaults
  defp options!(options, schema), do: Map.merge(@defaults, Options.validate!(options, schema, []))
end
