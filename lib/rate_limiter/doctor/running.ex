defmodule RateLimiter.Doctor.Running do
  @moduledoc false
  # The instances that run in this runtime: those of the application, where the checks run in its node.

  alias RateLimiter.{Doctor, Instance}
  alias RateLimiter.Core.Options
  alias RateLimiter.Instance.{Registry, Reporter}

  @doc "Checks each instance: its health, and how many nodes share its limits."
  @spec check() :: [Doctor.finding()]
  def check,
    do: for(%Instance{ready?: true} = instance <- Registry.instances(), do: about(instance))

  defp about(%Instance{name: name} = instance) do
    limiters = length(Instance.names(instance))
    what = "#{Options.show(name)}, #{limiters} limiters#{nodes(Reporter.stats(instance))}"

    case Reporter.health(instance) do
      :ok ->
        {:ok, "instance", what, nil}

      {_level, reason} ->
        {:warning, "instance", "#{what}: #{Options.show(reason)}", advice(reason)}
    end
  end

  defp nodes(%{redis: %{nodes: 1}}), do: ", alone in Redis"
  defp nodes(%{redis: %{nodes: nodes}}), do: ", one of #{nodes} nodes in Redis"
  defp nodes(%{store: :local}), do: ", counted in memory"
  defp nodes(_own), do: ", counted in a store of the application"

  defp advice(reason) do
    case reason do
      {:redis, _} ->
        "the checks below say why; callers get an answer by on_outage:"

      {:store, _} ->
        "look at the store of the application; callers get an answer by on_outage:"

      {:full, _} ->
        "raise max_keys:, or limit networks instead of addresses"

      {:evicts, _} ->
        "set maxmemory-policy noeviction"

      {:heartbeat, _} ->
        "grant the rights that guides/redis.md lists"

      {:clock, _} ->
        "none: aligned windows follow within ten seconds"

      {:checkpoint, _} ->
        "correct the cause; guides/operations.md says what happens to a refused file"

      :stopping ->
        "none: the instance is about to stop"

      :not_running ->
        "none: the instance has just stopped"
    end
  end
end
