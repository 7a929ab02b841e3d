defmodule Lab.Simulation.Peers.Fixed do
  @moduledoc false
  # The configured limit and nothing else.
  use Lab.Simulation.Controller

  @impl true
  def new(setting), do: setting.limit

  @impl true
  def admit(limit, _now, _in_flight), do: {true, nil, limit}

  @impl true
  def finished(limit, _finished), do: limit

  @impl true
  def level(limit), do: limit
end
