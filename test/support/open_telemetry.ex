# What a test sees of OpenTelemetry: events of a span, and what a reader of metrics collects. With the SDK on the code path it
# is the SDK's; without, the part of the API that this project calls has stand-ins.
if Code.ensure_loaded?(:otel_meter_server) do
  defmodule RateLimiter.Support.OpenTelemetry do
    @moduledoc false

    @applications [:opentelemetry, :opentelemetry_experimental]

    @doc "Starts the SDK, which reports to the calling process until the test ends."
    def start do
      stop()
      Application.put_env(:opentelemetry, :span_processor, :simple)
      Application.put_env(:opentelemetry, :traces_exporter, {:otel_exporter_pid, self()})
      exporter = {:otel_metric_exporter_pid, self()}
      reader = %{module: :otel_metric_reader, config: %{exporter: exporter}}
      Application.put_env(:opentelemetry_experimental, :readers, [reader])
      for application <- @applications, do: {:ok, _} = Application.ensure_all_started(application)
      ExUnit.Callbacks.on_exit(&stop/0)
    end

    defp stop do
      for application <- Enum.reverse(@applications), do: Application.stop(application)
      # The meters of an SDK that is not there any more.
      for {{:opentelemetry_experimental, _, :meter, _} = key, _} <- :persistent_term.get(),
          do: :persistent_term.erase(key)
    end

    @doc "Runs a function in a span, and returns the events of that: names and attributes."
    def events(fun) do
      tracer = :opentelemetry.get_tracer()
      span = :otel_tracer.start_span(tracer, "test", %{})
      :otel_tracer.set_current_span(span)
      fun.()
      :otel_span.end_span(span)
      :otel_tracer.set_current_span(:undefined)
      receive do: ({:span, span} -> span |> elem(11) |> :otel_events.list() |> Enum.map(&event/1))
    end

    defp event({:event, _time, name, attributes}), do: {name, :otel_attributes.map(attributes)}

    @doc "Returns what a reader collects now, by the names of instruments: unit, and values with their attributes."
    def collect do
      :ok = :otel_meter_server.force_flush()
      metrics(%{})
    end

    defp metrics(found) do
      receive do
        {:otel_metric, {:metric, name, _scope, _description, unit, data}} ->
          points = for point <- elem(data, 1), do: point(point)
          metrics(Map.put(found, name, {kind(data), unit, points}))
      after
        0 -> found
      end
    end

    defp kind({:sum, _points, :temporality_cumulative, true}), do: :counter
    defp kind(data), do: elem(data, 0)

    defp point({:datapoint, attributes, _start, _time, value, _, _}), do: {value, attributes}

    defp point(histogram) do
      [:histogram_datapoint, attributes, _start, _time, count, _sum, _counts, bounds | _] =
        Tuple.to_list(histogram)

      {{count, bounds}, attributes}
    end
  end
else
  defmodule :otel_tracer do
    @moduledoc false
    def current_span_ctx, do: Process.get(__MODULE__, :undefined)
    def set_current_span(span), do: Process.put(__MODULE__, span)
  end

  defmodule :otel_span do
    @moduledoc false
    def is_recording(span), do: match?({:recorded_by, _pid}, span)

    def add_event({:recorded_by, pid}, name, attributes) when is_map(attributes) do
      send(pid, {:span_event, name, attributes})
      true
    end
  end

  defmodule :otel_ctx do
    @moduledoc false
    def get_current, do: %{}
  end

  defmodule :opentelemetry do
    @moduledoc false
    def instrumentation_scope(name, version, :undefined), do: {name, version}
  end

  defmodule :opentelemetry_experimental do
    @moduledoc false
    def get_meter({_name, _version}) do
      case :ets.whereis(:otel_meter) do
        :undefined -> {:otel_meter_noop, []}
        table -> {:otel_meter_default, table}
      end
    end
  end

  # As in the SDK, the first instrument of a name stays.
  defmodule :otel_meter do
    @moduledoc false
    def create_observable_counter(meter, name, callback, argument, options),
      do: create(meter, name, {:counter, callback, argument, options})

    def create_observable_gauge(meter, name, callback, argument, options),
      do: create(meter, name, {:gauge, callback, argument, options})

    def create_histogram(meter, name, options), do: create(meter, name, {:histogram, [], options})

    def record(%{}, {:otel_meter_default, table}, name, value, attributes) when value >= 0 do
      {:histogram, values, options} = :ets.lookup_element(table, name, 2)
      :ets.insert(table, {name, {:histogram, [{value, attributes} | values], options}})
      :ok
    end

    defp create({:otel_meter_default, table}, name, instrument) when is_atom(name),
      do: :ets.insert_new(table, {name, instrument})
  end

  defmodule RateLimiter.Support.OpenTelemetry do
    @moduledoc false

    def start do
      :ets.new(:otel_meter, [:named_table, :public])
      :ok
    end

    def events(fun) do
      :otel_tracer.set_current_span({:recorded_by, self()})
      fun.()
      :otel_tracer.set_current_span(:undefined)
      events()
    end

    defp events do
      receive do
        {:span_event, name, attributes} -> [{name, attributes} | events()]
      after
        0 -> []
      end
    end

    def collect do
      for {name, instrument} <- :ets.tab2list(:otel_meter),
          do: {name, collected(instrument)},
          into: %{}
    end

    defp collected({:histogram, values, options}) do
      %{unit: unit, advisory_params: %{explicit_bucket_boundaries: bounds}} = options
      by_attributes = Enum.group_by(values, &elem(&1, 1))
      points = for {attributes, same} <- by_attributes, do: {{length(same), bounds}, attributes}
      {:histogram, unit, points}
    end

    defp collected({kind, callback, argument, %{description: text} = options})
         when is_binary(text),
         do: {kind, Map.get(options, :unit, :undefined), callback.(argument)}
  end
end
