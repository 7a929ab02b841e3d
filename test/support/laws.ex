defmodule RateLimiter.Support.ScriptedLaw do
  @moduledoc false
  # A law that says what a test told it to, and tells the test what it was shown.

  @behaviour RateLimiter.Adaptive

  alias RateLimiter.Adaptive.Decision

  @doc "The options of a subsystem that follows this law for `test`."
  def options(test, more \\ []), do: {__MODULE__, [test: test] ++ more}

  @doc "What the law answers from now on, where nothing was asked for it yet or after what was."
  def say(name, decision), do: :persistent_term.put({__MODULE__, name}, decision)

  @impl true
  def new(options) do
    if options[:begins] && :counters.get(options[:begins], 1) == 0,
      do: raise(ArgumentError, "does not begin")

    %{test: options[:test], key: options[:key], scale: options[:scale] || 1.0, steps: 0}
  end

  @impl true
  def step(%{test: test, key: key} = state, observation, now_ms) do
    send(test, {:step, key, observation, now_ms})

    decision =
      case :persistent_term.get({__MODULE__, key}, nil) do
        nil -> %Decision{scale: state.scale}
        fun when is_function(fun) -> fun.(state, observation)
        decision -> decision
      end

    {%{state | scale: decision.scale, steps: state.steps + 1}, decision}
  end
end
