defmodule RateLimiter.Metrics.Instrument do
  @moduledoc false
  # A metric as an instrument of OpenTelemetry: its name has neither the unit nor the mark of a counter, because an
  # exporter to Prometheus appends both.

  # In seconds: of the default timeout of 50 ms, below and above.
  @buckets [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25]

  @suffixes [{"_total", nil}, {"_bytes", :By}, {"_seconds", :s}, {"_ratio", :"1"}]

  @doc "Returns the name and the options of the instrument for a metric."
  @spec of(atom, {:counter | :gauge | :histogram, String.t()}) :: {atom, map}
  def of(metric, {type, description}) do
    "rate_limiter_" <> name = Atom.to_string(metric)

    suffix =
      Enum.find(@suffixes, {"", nil}, fn {suffix, _unit} -> String.ends_with?(name, suffix) end)

    {text, unit} = suffix
    name = String.replace_suffix(name, text, "")

    options =
      for {key, value} <- [unit: unit, advisory_params: advice(type)], value, do: {key, value}

    # As many atoms as there are metrics.
    {:"rate_limiter.#{name}", Map.new([description: description] ++ options)}
  end

  @doc "Returns the bounds of durations, in seconds."
  @spec buckets() :: [float]
  def buckets, do: @buckets

  defp advice(:histogram), do: %{explicit_bucket_boundaries: @buckets}
  defp advice(_other), do: nil
end
