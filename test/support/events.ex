defmodule RateLimiter.Support.Events do
  @moduledoc false
  # Telemetry events, sent to the test that listens.

  @doc "From now on the calling test gets `{:event, name, measurements, metadata}`."
  def listen(names) do
    test = self()
    :ok = :telemetry.attach_many({__MODULE__, test}, names, &__MODULE__.forward/4, test)
    ExUnit.Callbacks.on_exit(fn -> :telemetry.detach({__MODULE__, test}) end)
  end

  @doc false
  # Handlers hear all tests: only what the listening test caused is meant.
  def forward(name, measurements, metadata, test) do
    if test == self() or test in Process.get(:"$callers", []),
      do: send(test, {:event, name, measurements, metadata})
  end
end
