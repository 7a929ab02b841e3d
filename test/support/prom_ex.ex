# The part of PromEx that this project calls, for machines without Hex. Real libraries on the code path take its place.
unless Code.ensure_loaded?(PromEx.Plugin) do
  defmodule PromEx.MetricTypes.Event do
    @moduledoc false
    defstruct group_name: :default, metrics: []

    def build(group_name, metrics), do: %__MODULE__{group_name: group_name, metrics: metrics}
  end

  defmodule PromEx.Plugin do
    @moduledoc false
    @callback event_metrics(keyword) :: struct | [struct]

    defmacro __using__(_options) do
      quote do
        @behaviour PromEx.Plugin
        alias PromEx.MetricTypes.Event
      end
    end
  end
end
