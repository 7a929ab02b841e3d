defmodule RateLimiter.Replay.Fields do
  @moduledoc false
  # What a field is called: in Common Log Format by its place, in JSON by the names that servers and loggers use.

  @words [
    ip:
      ~w(ip client_ip clientip remote_addr remote_ip remote_host client.ip source.ip http.client_ip),
    user: ~w(user user_id userid user.id user.name username remote_user),
    path: ~w(path request_path url.path uri request_uri url),
    method: ~w(method request_method http.request.method http_method verb),
    status: ~w(status status_code http.response.status_code response),
    bytes: ~w(bytes body_bytes_sent bytes_sent http.response.body.bytes),
    referer: ~w(referer referrer http_referer http.request.referrer),
    agent: ~w(agent user_agent user_agent.original http_user_agent)
  ]
  @time ~w(time timestamp @timestamp ts date datetime time_iso8601 time_local)

  @by_name Map.new(@words, fn {word, _names} -> {Atom.to_string(word), word} end)

  @type part :: {clf :: atom | nil, json :: [String.t()]}

  @doc "The words that mean the same in every format, with their names in JSON."
  @spec words() :: [{atom, [String.t()]}]
  def words, do: @words

  @doc "The names of the time in JSON, in the order in which they are looked for."
  @spec time() :: [String.t()]
  def time, do: @time

  @doc """
  Where the field of this name is found.

      iex> RateLimiter.Replay.Fields.part("tenant.id", %{})
      {nil, ["tenant.id"]}

      iex> RateLimiter.Replay.Fields.part("ip", %{"ip" => "peer"})
      {:ip, ["peer"]}
  """
  @spec part(String.t(), %{String.t() => String.t()}) :: part
  def part(name, renamed) do
    case {@by_name, renamed} do
      {%{^name => word}, %{^name => json}} -> {word, [json]}
      {%{^name => word}, _} -> {word, @words[word]}
      _ -> {nil, [name]}
    end
  end

  @doc "Whether the name is a word of every format."
  @spec word?(String.t()) :: boolean
  def word?(name), do: is_map_key(@by_name, name)

  @doc "The words as a person would list them."
  @spec list() :: String.t()
  def list, do: @words |> Keyword.keys() |> Enum.join(", ")
end
