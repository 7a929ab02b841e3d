if match?({:module, _}, Code.ensure_compiled(:otel_span)) do
  defmodule RateLimiter.OpenTelemetry do
    @moduledoc """
    Denials, also those of windows in shadow mode, and thresholds as events of the caller's span, and the metrics of
    `RateLimiter.Metrics` as instruments.

    Attach it when the application starts:

        RateLimiter.OpenTelemetry.attach()

    A denied call adds the event `rate_limiter.denied` to the current span of the calling process, a call that a window in
    shadow mode would have denied the event `rate_limiter.would_deny`, and a call with which an id
    reaches the `:threshold` of a limiter the event `rate_limiter.threshold`. An allowed call adds nothing. Where no span is
    recorded, nothing is built.

    The attributes are `rate_limiter.limiter`, `rate_limiter.window`, `rate_limiter.source`, `rate_limiter.cost`,
    `rate_limiter.max` and `rate_limiter.current`, and for a denied call `rate_limiter.retry_after_ms`, -1 if it can never
    be admitted. None of them reveals an id. This module exists where `:opentelemetry_api` is a dependency of the
    application.

    OpenTelemetry's API for metrics is still experimental, hence a package of its own: `register_metrics/0` exists where
    `:opentelemetry_api_experimental` is a dependency.
    """

    @events %{
      [:rate_limiter, :violation] => "rate_limiter.denied",
      [:rate_limiter, :would_deny] => "rate_limiter.would_deny",
      [:rate_limiter, :threshold] => "rate_limiter.threshold"
    }

    @doc "Attaches the handler. Returns `:ok`, also if it is attached already."
    @spec attach() :: :ok
    def attach do
      detach()
      :telemetry.attach_many(__MODULE__, Map.keys(@events), &__MODULE__.handle/4, nil)
    end

    @doc "Detaches the handler."
    @spec detach() :: :ok
    def detach do
      _not_found = :telemetry.detach(__MODULE__)
      :ok
    end

    @doc false
    def handle(event, measurements, metadata, nil) do
      span = :otel_tracer.current_span_ctx()

      if :otel_span.is_recording(span) do
        :otel_span.add_event(span, @events[event], attributes(measurements, metadata))
      end
    end

    defp attributes(measurements, metadata) do
      metadata
      |> Map.take([:limiter, :window, :source, :retry_after_ms])
      |> Map.merge(measurements)
      |> Map.new(fn {key, value} -> {"rate_limiter.#{key}", attribute(value)} end)
    end

    defp attribute(:infinity), do: -1
    defp attribute(value) when is_atom(value), do: Atom.to_string(value)
    defp attribute(value), do: value

    if match?({:module, _}, Code.ensure_compiled(:otel_meter)) do
      alias RateLimiter.Instance.Registry
      alias RateLimiter.Metrics.{Families, Instrument}

      @version Mix.Project.config()[:version]

      # The instruments of a reader are read one after the other in its process: one reading serves them.
      @fresh_ms 200

      @doc """
      Registers the metrics of `RateLimiter.Metrics` with the global meter provider.

      Call it when the application starts, after the SDK of OpenTelemetry, which starts first as a dependency. Without an SDK
      it does nothing. A second call adds nothing; the API cannot take them back.

      The counts of all instances are observed when a reader of the SDK collects: a call costs the same with and without
      them. Names and units are such that a collector that exports to Prometheus gives them the names of
      `RateLimiter.Metrics` again, so that `grafana/dashboard.json` shows them: `rate_limiter.checks` is
      `rate_limiter_checks_total`, and `rate_limiter.memory` in bytes `rate_limiter_memory_bytes`. The labels are
      attributes.

      `rate_limiter.store_duration`, in seconds, is a histogram of the batches of calls to Redis, which are recorded as they are
      answered: the API has no histogram that is observed.
      """
      @spec register_metrics() :: :ok
      def register_metrics do
        scope = :opentelemetry.instrumentation_scope("rate_limiter", @version, :undefined)

        case :opentelemetry_experimental.get_meter(scope) do
          {:otel_meter_noop, _no_sdk} -> :ok
          meter -> Enum.each(Families.all(), &register(&1, meter))
        end
      end

      defp register({family, {type, _help} = about}, meter),
        do: register(type, meter, family, Instrument.of(family, about))

      defp register(:counter, meter, family, {name, options}),
        do:
          :otel_meter.create_observable_counter(
            meter,
            name,
            &__MODULE__.observe/1,
            family,
            options
          )

      defp register(:gauge, meter, family, {name, options}),
        do:
          :otel_meter.create_observable_gauge(meter, name, &__MODULE__.observe/1, family, options)

      defp register(:histogram, meter, _family, {name, options}) do
        :otel_meter.create_histogram(meter, name, options)
        handler = {__MODULE__, name}
        _not_found = :telemetry.detach(handler)
        event = [:rate_limiter, :redis, :command]
        :telemetry.attach(handler, event, &__MODULE__.record/4, {meter, name})
      end

      @doc false
      def observe(family) do
        for {^family, _type, _help, samples} <- reading(),
            {labels, value} <- samples,
            do: {value, Map.new(labels)}
      end

      defp reading do
        now = System.monotonic_time(:millisecond)

        case Process.get(__MODULE__) do
          {at, families} when now - at < @fresh_ms ->
            families

          _older ->
            families = Enum.flat_map(Registry.instances(), &Families.read/1)
            Process.put(__MODULE__, {now, families})
            families
        end
      end

      @doc false
      def record(_event, %{duration_us: duration_us}, metadata, {meter, name}) do
        %{instance: instance, server: server, result: result} = metadata
        attributes = %{name: inspect(instance), server: server, result: "#{result}"}
        context = :otel_ctx.get_current()
        :otel_meter.record(context, meter, name, duration_us / 1_000_000, attributes)
      end
    end
  end
end
