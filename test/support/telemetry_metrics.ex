# The part of Telemetry.Metrics that this project calls, with its fields, for machines without Hex. Real libraries on the
# code path take its place.
unless Code.ensure_loaded?(Telemetry.Metrics) do
  defmodule Telemetry.Metrics do
    @moduledoc false

    @type t :: struct
    @fields [
      :name,
      :event_name,
      :measurement,
      :tags,
      :tag_values,
      :keep,
      :description,
      :unit,
      :reporter_options
    ]

    for kind <- [Counter, Sum, LastValue, Distribution] do
      defmodule Module.concat(__MODULE__, kind) do
        @moduledoc false
        defstruct [
          :name,
          :event_name,
          :measurement,
          :tags,
          :tag_values,
          :keep,
          :description,
          :unit,
          :reporter_options
        ]
      end
    end

    def counter(name, options \\ []), do: metric(__MODULE__.Counter, name, options)
    def sum(name, options \\ []), do: metric(__MODULE__.Sum, name, options)
    def last_value(name, options \\ []), do: metric(__MODULE__.LastValue, name, options)
    def distribution(name, options \\ []), do: metric(__MODULE__.Distribution, name, options)

    defp metric(kind, name, options) do
      [] = Keyword.keys(options) -- @fields
      name = name |> String.split(".") |> Enum.map(&String.to_atom/1)
      {unit, factor} = unit(options[:unit])
      measurement = measurement(Keyword.fetch!(options, :measurement), factor)

      struct!(
        kind,
        [tags: [], tag_values: & &1, keep: nil, reporter_options: []]
        |> Keyword.merge(options)
        |> Keyword.merge(name: name, unit: unit, measurement: measurement)
      )
    end

    defp unit(nil), do: {:unit, 1}
    defp unit({:microsecond, :second}), do: {:second, 1.0e-6}
    defp unit(unit) when is_atom(unit), do: {unit, 1}

    defp measurement(measurement, 1), do: measurement
    defp measurement(key, factor), do: fn measurements -> measurements[key] * factor end
  end
end
