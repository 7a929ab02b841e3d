defmodule RateLimiter.Store.Answer do
  @moduledoc false
  # The answer of the native library as the answer of the API, with its events.

  alias RateLimiter.{Store, Telemetry, Usage}
  alias RateLimiter.Core.{Native, Plan}
  alias RateLimiter.Store.Lookup

  @doc "Returns the answer of a call that takes, and emits its events."
  @spec decided(
          Native.answer(),
          atom,
          RateLimiter.id(),
          Lookup.names(),
          integer,
          request_id :: binary | nil,
          Plan.chosen()
        ) :: Store.answer()
  def decided(answer, limiter, id, windows, cost, request, plan) do
    receipt = receipt(answer, limiter, id, windows, cost, request)
    usage = answer |> usage(limiter, windows, cost, receipt) |> Usage.under(plan)

    case {elem(answer, 0), elem(answer, 1)} do
      {:ok, events} ->
        Telemetry.allowed(usage, events, id)
        {:ok, usage}

      {:would_deny, events} ->
        usage = usage |> Usage.in_shadow() |> Usage.with_receipt(answer, id, windows, request)
        Telemetry.would_deny(usage, events, id)
        {:ok, usage}

      {:rate_limited, events} ->
        Telemetry.denied(usage, events, id)
        new(answer, usage)

      {:unavailable, events} ->
        Telemetry.unavailable(usage, events)
        new(answer, usage)
    end
  end

  # Only of an admitted call.
  defp receipt({:ok, _, _, _, _, _, at, serial}, limiter, id, windows, cost, request),
    do: {limiter, id, windows, cost, at, serial, request}

  defp receipt({:ok, _, _, _, _, _, _, _, at, serial}, limiter, id, windows, cost, request),
    do: {limiter, id, windows, cost, at, serial, request}

  defp receipt(_denied, _limiter, _id, _windows, _cost, _request), do: nil

  @doc "Returns the answer of a call that takes nothing, or gives back."
  @spec looked(Native.answer(), atom, Lookup.names(), integer, Plan.chosen()) :: Store.answer()
  def looked(answer, limiter, windows, cost, plan),
    do: new(answer, answer |> usage(limiter, windows, cost) |> Usage.under(plan))

  @doc "Returns the usage in an answer: of one window if the call named one, else with each window's own."
  @spec usage(Native.answer(), atom, Lookup.names(), integer, Usage.receipt() | nil) :: Usage.t()
  def usage(answer, limiter, windows, cost, receipt \\ nil)

  def usage({_, _, _, _, _, _, _, _, _, _} = one, limiter, window, cost, receipt)
      when is_atom(window),
      do: Usage.from_window(one, limiter, window, cost, receipt)

  def usage({_, _, _, _, _, _, _, _, _, _} = one, limiter, [window], cost, receipt) do
    usage = Usage.from_window(one, limiter, window, cost)
    %{usage | windows: %{window => usage}, receipt: receipt}
  end

  def usage({_, _, source, ppm, _binding, [row], _, _}, limiter, window, cost, receipt)
      when is_atom(window),
      do: Usage.from_row(row, limiter, {source, ppm}, cost, receipt)

  def usage({_, _, source, ppm, binding, rows, _, _}, limiter, _windows, cost, receipt),
    do: Usage.from_rows(rows, binding, limiter, {source, ppm}, cost, receipt)

  # The authority is away, and the limiter must not guess, or the instance is about to stop. Another second may help.
  def usage({:unavailable, events, source, ppm}, limiter, windows, cost, nil) do
    [{first, _max} | _] = maxima = maxima(windows, Lookup.windows(limiter))
    rows = for {window, max} <- maxima, do: {window, max, 0, 1_000, 0, 1_000}
    usage({:unavailable, events, source, ppm, first, rows, 0, 0}, limiter, windows, cost)
  end

  # The limiter was removed while the call waited.
  defp maxima([], nil), do: [{nil, 0}]
  defp maxima(windows, nil), do: for(window <- Lookup.names(windows), do: {window, 0})
  defp maxima([], known), do: known
  defp maxima(windows, known), do: Keyword.take(known, Lookup.names(windows))

  defp new(answer, usage) do
    case elem(answer, 0) do
      :ok -> {:ok, usage}
      :would_deny -> {:ok, Usage.in_shadow(usage)}
      denied -> {:error, denied, usage}
    end
  end
end
