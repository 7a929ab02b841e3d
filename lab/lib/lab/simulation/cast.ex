defmodule Lab.Simulation.Cast do
  @moduledoc false
  # Who is compared.

  alias Lab.Simulation.{Ours, Peers}

  @members [
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

  @type member :: {key :: atom, title :: String.t(), module}

  @doc "All of them, ours first."
  @spec members() :: [member]
  def members, do: @members

  @doc "The member of this key; `nil` where there is none."
  @spec find(atom) :: member | nil
  def find(key), do: List.keyfind(@members, key, 0)
end
