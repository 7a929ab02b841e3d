defmodule RateLimiter.VSM.Gate do
  @moduledoc false
  # The native gates and limiters of subsystems: the only module that calls them.
  #
  # A gate admits a share of calls (`open`), limits the calls in flight (the guard), and counts finished work.

  alias RateLimiter.{Store, Telemetry, Usage}
  alias RateLimiter.Adaptive.{Histogram, Work}
  alias RateLimiter.Core.{Errors, Limit, Native}
  alias RateLimiter.Store.{Answer, Id}
  alias RateLimiter.VSM.Subsystem

  @window :rate
  @unit 1_000_000

  # The monitor sets the gate about once a second. An earlier retry finds it unchanged.
  @gate_retry_ms 1_000
  # Assumed duration of work before the first measurement.
  @unknown_ms 100

  @type denied :: {:error, :rate_limited, Usage.t()}

  @doc "Creates an unnamed limiter with one window. It lives as long as its owner, a term."
  @spec new_limiter(Limit.t(), :all | :denials | :none, term) :: {Native.handle(), Native.owner()}
  def new_limiter(limit, events, clock) do
    config = %{windows: [{@window, limit}], events: events, max_keys: 1_000}
    {:ok, handle, owner} = Store.new_limiter(config, clock)
    {handle, owner}
  end

  defdelegate new(clock, shared_gate), to: Native, as: :gate_new
  defdelegate hold(gate), to: Native, as: :gate_hold
  defdelegate finish(permit, outcome), to: Native, as: :permit_finish
  defdelegate record(gate, outcome, us), to: Native, as: :gate_record
  defdelegate cut(gate), to: Native, as: :gate_cut

  @doc "Checks a call whose end is not reported."
  @spec check(Subsystem.t(), RateLimiter.id(), integer) :: {:ok, Usage.t()} | denied
  def check(subsystem, id, cost) when is_integer(cost), do: check(subsystem, id, cost, id)
  def check(_subsystem, _id, cost), do: raise(Errors.bad_call(nil, cost))

  defp check(%Subsystem{gate: gate, limiter: limiter} = subsystem, id, cost, hashed) do
    case Native.gate_check(gate, limiter, hashed, @window, Store.bounded(cost)) do
      {:ok, events, _, _, _, _, _, _, _, _} = answer ->
        {:ok, allowed(answer, events, subsystem, {id, cost})}

      :large_id ->
        check(subsystem, id, cost, Id.hash!(limiter, id))

      other ->
        deny(other, subsystem, id, cost)
    end
  end

  @doc "Checks a call that stays in flight until `finish/2`."
  @spec enter(Subsystem.t(), RateLimiter.id(), integer) :: {:ok, Native.permit()} | denied
  def enter(subsystem, id, cost) when is_integer(cost), do: enter(subsystem, id, cost, id)
  def enter(_subsystem, _id, cost), do: raise(Errors.bad_call(nil, cost))

  defp enter(%Subsystem{gate: gate, limiter: limiter} = subsystem, id, cost, hashed) do
    case Native.gate_enter(gate, limiter, hashed, @window, Store.bounded(cost)) do
      {permit, answer} when is_reference(permit) ->
        allowed(answer, elem(answer, 1), subsystem, {id, cost})
        {:ok, permit}

      :large_id ->
        enter(subsystem, id, cost, Id.hash!(limiter, id))

      other ->
        deny(other, subsystem, id, cost)
    end
  end

  @doc "Checks a call against a limiter without a gate."
  @spec take(Native.handle(), RateLimiter.id(), integer) :: Native.usage()
  def take(limiter, id, cost),
    do: answer!(Native.check(limiter, id, @window, Store.bounded(cost)), id)

  @doc "Refunds `cost` to a limiter without a gate."
  @spec give_back(Native.handle(), RateLimiter.id(), integer) :: :ok
  def give_back(limiter, id, cost) do
    _answer = Native.request(limiter, id, [@window], {:refund, Store.bounded(cost), nil, nil})
    :ok
  end

  @doc "Returns how much of its limit a subsystem has used."
  @spec usage(Subsystem.t()) :: Usage.t()
  def usage(%Subsystem{limiter: limiter, name: name}) do
    limiter
    |> Native.request(@window, [@window], {:peek, 0, nil, nil})
    |> answer!(nil)
    |> Answer.usage(name, @window, 0)
  end

  @doc "Sets the scale of a limiter."
  @spec set_scale(Native.handle(), float) :: :ok
  def set_scale(limiter, scale) do
    _gone = Native.set_scale(limiter, ppm(scale))
    :ok
  end

  @doc "Returns the scale of a limiter."
  @spec scale(Native.handle()) :: float
  def scale(limiter) do
    case Store.plan(limiter) do
      %{scale: scale} -> scale
      nil -> 1.0
    end
  end

  @doc "Sets how many calls may be in flight at once."
  @spec set_guard(Native.gate(), pos_integer | :infinity) :: :ok
  def set_guard(gate, :infinity), do: Native.gate_set_guard(gate, nil)
  def set_guard(gate, max), do: Native.gate_set_guard(gate, max)

  @doc "Sets up to how many calls in flight in the shared gate this gate admits calls."
  @spec set_room(Native.gate(), pos_integer | :infinity) :: :ok
  def set_room(gate, :infinity), do: Native.gate_set_room(gate, nil)
  def set_room(gate, max), do: Native.gate_set_room(gate, max)

  @doc "Sets the share of calls that a gate admits."
  @spec set_open(Native.gate(), float) :: :ok
  def set_open(gate, share), do: Native.gate_set_open(gate, ppm(share))

  @doc "Returns the work finished since the last call: begun after the last cut, and before it."
  @spec drain(Native.gate()) :: {fresh :: Work.t(), earlier :: Work.t()}
  def drain(gate) do
    {fresh, earlier} = Native.gate_drain(gate)
    {work(fresh), work(earlier)}
  end

  @doc "Returns a gate's settings, and its counts since it was created."
  @spec counts(Native.gate()) :: map
  def counts(gate) do
    {{asked, denied, guarded, shed, abandoned}, in_flight, guard, open} = Native.gate_counts(gate)

    %{
      asked: asked,
      denied: denied,
      guarded: guarded,
      shed: shed,
      abandoned: abandoned,
      in_flight: in_flight,
      guard: guard || :infinity,
      open: open / @unit
    }
  end

  ## From native answers

  defp allowed(answer, events, subsystem, {id, cost}) do
    usage = Usage.from_window(answer, subsystem.name, @window, cost)
    Telemetry.allowed(usage, events, id)
    usage
  end

  defp deny({:rate_limited, events, _, _, _, _, _, _, _, _} = answer, subsystem, id, cost),
    do: answer |> Usage.from_window(subsystem.name, @window, cost) |> denied(events, id)

  defp deny(:shed, subsystem, id, cost) do
    usage = usage(subsystem)

    usage = %{usage | window: :gate, cost: cost, remaining: 0}
    usage = %{usage | next_after_ms: @gate_retry_ms, retry_after_ms: @gate_retry_ms}
    denied(usage, subsystem.events, id)
  end

  defp deny({:full, max, in_flight}, subsystem, id, cost) do
    next_ms = next_finish_ms(subsystem, in_flight)

    usage = %Usage{
      limiter: subsystem.name,
      window: :in_flight,
      max: max,
      current: in_flight,
      remaining: 0,
      cost: cost,
      next_after_ms: next_ms,
      retry_after_ms: next_ms
    }

    denied(usage, subsystem.events, id)
  end

  defp deny(refusal, _subsystem, id, _cost), do: answer!(refusal, id)

  defp denied(usage, events, id) do
    Telemetry.denied(usage, events, id)
    {:error, :rate_limited, usage}
  end

  # With n calls in flight of this mean duration, one of them finishes about then.
  defp next_finish_ms(subsystem, in_flight) do
    mean_ms = Subsystem.mean_ms(subsystem) || @unknown_ms
    max(1, ceil(mean_ms / max(in_flight, 1)))
  end

  defp answer!(:bad_id, id), do: raise(Errors.bad_id(id))

  defp answer!(:unknown_limiter, _id),
    do: raise(Errors.ended())

  defp answer!(answer, _id), do: answer

  defp work({ok, errors, timeouts, rejected, waited_us, sum_us, buckets}) do
    %Work{
      ok: ok,
      errors: errors,
      timeouts: timeouts,
      rejected: rejected,
      waited_us: waited_us,
      latency: Histogram.from_counts(buckets, sum_us)
    }
  end

  # The native library keeps it within its bounds.
  defp ppm(share), do: round(share * @unit)
end
