defmodule RateLimiter.Dashboard.Response do
  @moduledoc false
  # From a request to a response, for any server.

  alias RateLimiter.Dashboard.{Data, History, Page}

  @security [
    {"content-security-policy", Page.policy()},
    {"x-content-type-options", "nosniff"},
    {"referrer-policy", "no-referrer"},
    {"cache-control", "no-store"}
  ]

  @typedoc "What is shown, by the name of a node in the query, and the names of all nodes that can be shown."
  @type source ::
          {(String.t() | nil -> {:ok, History.view()} | {:error, String.t()} | :unknown),
           [String.t()]}
  @type t :: {status :: 200..599, headers :: [{String.t(), String.t()}], body :: iodata}

  @doc "Returns the response to a request. `path` is what follows the place where the page is mounted."
  @spec to(String.t(), [String.t()], String.t(), source) :: t
  def to(method, path, query, source)

  def to(method, _path, _query, _source) when method not in ["GET", "HEAD"],
    do: text(405, "this page is read-only", [{"allow", "GET, HEAD"}])

  def to(_method, [], query, {view, nodes}) do
    query = decode(query)

    case {view.(query["node"]), query["format"]} do
      {:unknown, _format} -> text(404, "this node is not connected", [])
      {shown, "json"} -> json(shown)
      {shown, _html} -> html(shown, nodes)
    end
  end

  def to(_method, _path, _query, _source), do: text(404, "not found", [])

  defp html(shown, nodes) do
    headers = [{"content-type", "text/html; charset=utf-8"} | @security]
    {status(shown), headers, Page.render(shown, nodes)}
  end

  defp json(shown),
    do: {status(shown), [{"content-type", "application/json"} | @security], Data.render(shown)}

  defp text(status, words, headers) do
    headers = headers ++ [{"content-type", "text/plain; charset=utf-8"} | @security]
    {status, headers, [words, "\n"]}
  end

  defp status({:ok, _view}), do: 200
  defp status({:error, _problem}), do: 502

  # An invalid query selects nothing.
  defp decode(query) do
    URI.decode_query(query)
  rescue
    ArgumentError -> %{}
  end
end
