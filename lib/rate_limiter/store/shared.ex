defmodule RateLimiter.Store.Shared do
  @moduledoc false
  # Calls about limiters of which Redis decides, or this node alone while Redis is away.
  #
  # Costs come bounded, as the native library takes them; `cost` beside them is what the caller wrote.

  alias RateLimiter.{Instance, Redis, Store, Telemetry, Usage}
  alias RateLimiter.Core.Native
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Store.{Lookup, Refusal, Selection}

  @doc "Takes the cost from the windows, all or nothing."
  @spec check(
          atom,
          RateLimiter.id(),
          Selection.t(),
          integer,
          {Native.cost(), Store.request() | nil}
        ) ::
          Store.answer()
  def check(limiter, id, windows, cost, {bounded, request}) do
    limiter
    |> ask(id, windows, {:take, bounded, request})
    |> checked(limiter, id, windows, cost)
  end

  @doc "What a call says that takes nothing, or gives back."
  @spec look(
          atom,
          RateLimiter.id(),
          Selection.t(),
          integer,
          {:peek | :refund, Native.cost()}
        ) ::
          Store.answer()
  def look(limiter, id, windows, cost, {op, bounded}) do
    case ask(limiter, id, windows, {op, bounded, nil}) do
      refusal when is_atom(refusal) -> Refusal.raise!(refusal, limiter, id, windows)
      answer -> answer(answer, usage(answer, limiter, windows, cost))
    end
  end

  @doc "Forgets what an id has used."
  @spec reset(atom, RateLimiter.id(), Selection.t()) :: :ok | {:error, :unavailable, nil}
  def reset(limiter, id, windows) do
    case ask(limiter, id, windows, {:reset, 0, nil}) do
      :ok -> :ok
      refusal when is_atom(refusal) -> Refusal.raise!(refusal, limiter, id, windows)
      _unavailable -> {:error, :unavailable, nil}
    end
  end

  @doc "Decides each entry by itself, in one round trip."
  @spec check_batch(
          atom,
          [{RateLimiter.id(), integer}],
          Selection.t(),
          [{RateLimiter.id(), Native.cost()}]
        ) :: [Store.answer()]
  def check_batch(limiter, entries, windows, bounded) do
    answers = batch(limiter, bounded, windows, :take)

    Enum.zip_with(entries, answers, fn {id, cost}, answer ->
      checked(answer, limiter, id, windows, cost)
    end)
  end

  @doc "What each id has used, in one round trip."
  @spec usage_batch(atom, [{RateLimiter.id(), 0}], Selection.t()) ::
          {:ok, [{RateLimiter.id(), Usage.t()}]} | {:error, :unavailable, nil}
  def usage_batch(limiter, entries, windows) do
    answers = batch(limiter, entries, windows, :peek)

    if Enum.any?(answers, &match?({:unavailable, _, _, _}, &1)) do
      {:error, :unavailable, nil}
    else
      {:ok,
       Enum.zip_with(entries, answers, fn {id, 0}, answer ->
         {id, usage(answer, limiter, windows, 0)}
       end)}
    end
  end

  defp ask(limiter, id, windows, what) do
    limiter
    |> RateLimiter.Store.Request.one(id, Selection.native!(windows), what)
    |> straight(limiter)
  end

  # Nobody is asked; but what is wrong with the call is told as ever.
  defp batch(limiter, [], windows, _op) do
    known = Keyword.keys(Lookup.windows!(limiter))
    asked = Selection.native!(windows)

    if asked == :all or asked -- known == [],
      do: [],
      else: Refusal.raise!(:unknown_window, limiter, nil, windows)
  end

  defp batch(limiter, entries, windows, op) do
    case RateLimiter.Store.Request.batch(limiter, entries, Selection.native!(windows), op) do
      answers when is_list(answers) -> Enum.map(answers, &straight(&1, limiter))
      refusal -> Refusal.raise_batch!(refusal, limiter, entries, windows)
    end
  end

  defp checked(refusal, limiter, id, windows, _cost) when is_atom(refusal),
    do: Refusal.raise!(refusal, limiter, id, windows)

  defp checked(answer, limiter, id, windows, cost) do
    usage = usage(answer, limiter, windows, cost)
    tell(answer, usage, id)
    answer(answer, usage)
  end

  defp tell(answer, usage, id) do
    case {elem(answer, 0), elem(answer, 1)} do
      {:ok, events} -> Telemetry.allowed(usage, events)
      {:rate_limited, events} -> Telemetry.denied(usage, events, id)
      {:unavailable, events} -> Telemetry.unavailable(usage, events)
    end
  end

  defp answer(answer, usage) do
    case elem(answer, 0) do
      :ok -> {:ok, usage}
      denied -> {:error, denied, usage}
    end
  end

  # Who asks about one window is answered with one row, and gets no map of windows.
  defp usage({_, _, source, ppm, _binding, [row]}, limiter, window, cost) when is_atom(window),
    do: Usage.from_remote_row(row, limiter, {source, ppm}, cost)

  defp usage({_, _, _, _, _, _} = answer, limiter, windows, cost),
    do: answer |> Usage.from_remote(limiter, cost) |> Selection.only(windows)

  # Nobody could say how much is left.
  defp usage({:unavailable, _events, source, ppm}, limiter, windows, cost) do
    windows
    |> asked(Lookup.windows(limiter))
    |> Usage.unknown(limiter, {source, ppm}, cost)
    |> Selection.only(windows)
  end

  # The limiter was removed while the call waited.
  defp asked([], nil), do: [{nil, 0}]
  defp asked(windows, nil), do: for(name <- names(windows), do: {name, 0})
  defp asked([], known), do: known
  defp asked(windows, known), do: Keyword.take(known, names(windows))

  defp names(window) when is_atom(window), do: [window]
  defp names(windows), do: windows

  # The one answer with which this node began or ceased to decide alone says so.
  defp straight({:away, answer}, limiter), do: turned(:started, limiter, answer)
  defp straight({:back, answer}, limiter), do: turned(:stopped, limiter, answer)
  defp straight(answer, _limiter), do: answer

  defp turned(change, limiter, answer) do
    with %Instance{store: {:redis, store}} = instance <- holder(limiter),
         {_handle, config} <- Instance.fetch(instance, limiter),
         %{nodes: nodes} <- Redis.Client.status(store) do
      Telemetry.fallback(change, %{
        instance: instance.name,
        limiter: limiter,
        on_outage: config.on_outage,
        nodes: nodes
      })
    end

    answer
  end

  defp holder(limiter), do: Enum.find(Registry.instances(), &Instance.fetch(&1, limiter))
end
