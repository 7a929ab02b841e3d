if match?({:module, _}, Code.ensure_compiled(PromEx.Plugin)) do
  defmodule RateLimiter.PromEx do
    @moduledoc """
    A plugin for [PromEx](https://hexdocs.pm/prom_ex): the metrics of `RateLimiter.Metrics.definitions/0`.

        defmodule MyApp.PromEx do
          use PromEx, otp_app: :my_app

          @impl true
          def plugins, do: [PromEx.Plugins.Beam, RateLimiter.PromEx]
        end

    This module exists where PromEx is a dependency of the application. Start PromEx before RateLimiter, so that it sees the
    first events.
    """

    use PromEx.Plugin

    @doc "Returns the metrics of all limiters, Redis servers and subsystems."
    @impl true
    def event_metrics(_options),
      do: Event.build(:rate_limiter_event_metrics, RateLimiter.Metrics.definitions())
  end
end
