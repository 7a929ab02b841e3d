defmodule RateLimiter.Dashboard.Nodes do
  @moduledoc false
  # The nodes that a mounted page can show: this one, and those that are connected to it. Each keeps its own history, so
  # it does not matter which of them a load balancer asks.

  alias RateLimiter.Dashboard.History

  @timeout_ms 10_000

  @doc "Returns the names of the nodes, this one first."
  @spec names() :: [String.t()]
  def names, do: for(node <- [node() | Enum.sort(Node.list())], do: Atom.to_string(node))

  @doc "Returns the view of a node, `nil` for this one."
  @spec view(String.t() | nil) :: {:ok, History.view()} | {:error, String.t()} | :unknown
  def view(nil), do: History.view(History)

  # The name comes from a request: it makes no atom.
  def view(name) do
    case Enum.find([node() | Node.list()], &(Atom.to_string(&1) == name)) do
      nil -> :unknown
      node when node == node() -> view(nil)
      node -> remote(node)
    end
  end

  defp remote(node) do
    :erpc.call(node, __MODULE__, :view, [nil], @timeout_ms)
  catch
    _kind, reason -> {:error, "no reply from #{node}: #{inspect(reason, limit: 5)}"}
  end
end
