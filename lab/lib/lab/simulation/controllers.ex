defmodule Lab.Simulation.Controllers do
  @moduledoc false
  # The controllers that are compared.

  alias Lab.Simulation.{Ours, Peers}

  @controllers [
    {:ours, "this library", Ours},
    {:fixed, "fixed limit", Peers.Fixed},
    {:aimd, "AIMD", Peers.Aimd},
    {:vegas, "Vegas", Peers.Vegas},
    {:gradient2, "Gradient2", Peers.Gradient2},
    {:envoy, "Envoy gradient", Peers.Envoy},
    {:sre, "SRE throttling", Peers.Sre},
    {:aws, "AWS cubic", Peers.Aws},
    {:bbr, "Kratos BBR", Peers.Bbr},
    {:regulator, "Regulator AIMD", Peers.Regulator}
  ]

  @type controller :: {key :: atom, title :: String.t(), module}

  @doc "Returns all controllers, the one of this library first."
  @spec controllers() :: [controller]
  def controllers, do: @controllers

  @doc "Returns the controller of this key, or `nil`."
  @spec find(atom) :: controller | nil
  def find(key), do: List.keyfind(@controllers, key, 0)
end
