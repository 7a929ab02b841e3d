defmodule RateLimiter.Replay.Report do
  @moduledoc """
  The result of a replay.

    * `:logs` - `{name, problem}` for each log; `problem` says why it was not read to its end, or is `nil`
    * `:by`, `:cost` - the fields that held the id and the cost (`nil`: a cost of 1)
    * `:input` - a map of counts of the input: `:lines`, `:blank`, `:requests`, `:without_id`, `:late`, `:broken`,
      `:first_late` and `:first_broken` (with the log's index and the line's number), `:ids`, `:first` and `:last`
      (`{unix_ns, zone_minutes}` or `nil`), `:zone_minutes`, `:mixed_zones`,
      `:steps` (requests later, and earlier, than the one before), `:layouts` (what stood around the fields, by name),
      `:suspects` (ids that look wrong), `:first_fields` (of the first JSON line without id or time)
    * `:verdicts` - a `RateLimiter.Replay.Verdict` for each limit
    * `:sorted` - whether the files were not in order of time, and were sorted
    * `:repeated` - files that were named more than once, and read once
    * `:fitted` - whether the smallest limit was searched
  """

  alias RateLimiter.Core.Limit
  alias RateLimiter.Replay.{Engine, Settings, Verdict}
  alias RateLimiter.Terminal.Text

  @enforce_keys [:logs, :by, :cost, :input, :verdicts, :fitted, :reorder_ms]
  defstruct @enforce_keys ++ [sorted: false, repeated: []]

  @type t :: %__MODULE__{
          logs: [{String.t(), String.t() | nil}],
          by: [String.t(), ...],
          cost: String.t() | nil,
          input: map,
          verdicts: [Verdict.t(), ...],
          fitted: boolean,
          reorder_ms: non_neg_integer,
          sorted: boolean,
          repeated: [String.t()]
        }

  @doc false
  @spec new(Engine.t(), Settings.t(), [{String.t(), String.t() | nil}]) :: t
  def new(engine, %Settings{} = settings, logs) do
    input = Engine.input(engine)

    %__MODULE__{
      logs: Enum.map(logs, fn {path, problem} -> {name(path), problem} end),
      by: settings.by,
      cost: settings.cost,
      input: input,
      verdicts:
        for {limit, index} <- Enum.with_index(settings.limits) do
          verdict(engine, settings, {limit, index}, input)
        end,
      fitted: settings.fit,
      reorder_ms: settings.reorder_ms
    }
  end

  @doc "Returns an id as one text."
  @spec id_text([String.t() | nil]) :: String.t()
  def id_text(parts), do: Enum.map_join(parts, " ", &(&1 || "-"))

  defp verdict(engine, settings, {limit, index}, input) do
    outcome = Engine.outcome(engine, index, settings.top)
    fit = Engine.fit(engine, index, settings.shares_ppm)
    [paths, statuses] = for kinds <- outcome.kinds, do: Enum.map(kinds, &kind/1)

    %Verdict{
      limit: limit,
      requests: outcome.admitted + outcome.denied,
      admitted: outcome.admitted,
      denied: outcome.denied,
      ids: input.ids,
      ids_denied: outcome.ids_denied,
      top: Enum.map(outcome.top, &top/1),
      hours: outcome.hours,
      column_seconds: outcome.column_seconds,
      columns: outcome.columns,
      paths: paths,
      statuses: statuses,
      smallest: Enum.zip(settings.shares_ppm, Enum.map(fit.smallest, &found(&1, limit))),
      curve: fit.curve
    }
  end

  defp kind({value, requests, denied}),
    do: %{value: value && Text.visible(value), requests: requests, denied: denied}

  defp top({parts, requests, denied, longest_wait_ns, marks}) do
    %{
      id: Enum.map(parts, &(&1 && Text.visible(&1))),
      requests: requests,
      denied: denied,
      longest_wait_ns: longest_wait_ns,
      marks: marks
    }
  end

  defp found(nil, _stated), do: nil
  defp found({limit, burst}, %Limit{} = stated), do: %{stated | limit: limit, burst: burst}

  defp name("-"), do: "standard input"
  defp name(path), do: path
end
