defmodule RateLimiter.Top.Reader do
  @moduledoc false
  # Reads a running node from another one, which joins it as a hidden node.

  alias RateLimiter.Top.Snapshot

  @timeout_ms 5_000

  @doc "Joins a node, and returns its name. The cookie is `nil` for that of `~/.erlang.cookie`."
  @spec join(String.t(), String.t() | nil) ::
          {:ok, node} | {:error, String.t(), exit_status :: 1 | 2}
  def join(name, cookie) do
    with :ok <- valid(name), :ok <- distribute(name) do
      node = String.to_atom(name)
      if cookie, do: Node.set_cookie(node, String.to_atom(cookie))

      if Node.connect(node) == true,
        do: {:ok, node},
        else: {:error, "cannot connect to #{name}: check that it runs, and the cookie", 1}
    end
  end

  @doc "Reads a node that was joined."
  @spec read(node) :: Snapshot.t() | {:error, String.t()}
  def read(node) do
    :erpc.call(node, Snapshot, :take, [], @timeout_ms)
  rescue
    error in ErlangError -> {:error, "no reply from #{node}: #{inspect(error.original)}"}
  end

  defp valid(name) do
    if name =~ ~r/^[^@]+@[^@]+$/,
      do: :ok,
      else: {:error, "--node: expected a name and a host, such as shop@db1, got: #{name}", 2}
  end

  # A host with a dot makes a long name.
  defp distribute(name) do
    domain = if name =~ ~r/@.*\./, do: :longnames, else: :shortnames
    own = :"rate_limiter_#{System.pid()}@#{own_host(domain, name)}"

    with {:error, reason} <- :net_kernel.start(own, %{name_domain: domain, hidden: true}),
         false <- Node.alive?() do
      {:error,
       "cannot join #{name}, because Erlang distribution does not start on this machine. Is epmd running? Start " <>
         "it by: epmd -daemon (#{inspect(reason, limit: 5)})", 1}
    else
      _alive -> :ok
    end
  end

  # A node on a loopback address only accepts connections from there.
  defp own_host(:longnames, name), do: name |> String.split("@") |> List.last() |> loopback()

  defp own_host(:shortnames, _name) do
    {:ok, host} = :inet.gethostname()
    host
  end

  defp loopback("127." <> _ = host), do: host

  defp loopback(_remote) do
    {:ok, host} = :inet.gethostname()
    {:ok, {:hostent, full, _, _, _, _}} = :inet.gethostbyname(host)
    full
  end
end
