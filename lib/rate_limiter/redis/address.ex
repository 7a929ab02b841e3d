defmodule RateLimiter.Redis.Address do
  @moduledoc false
  # The address of a server, from a URL, "host:port", `{host, port}` or `[host: host, port: port]`.

  alias RateLimiter.Core.Options

  @type t :: {:tcp, host :: String.t(), port :: pos_integer} | {:unix, path :: String.t()}
  @type url :: %{
          address: t,
          ssl: boolean,
          username: String.t() | nil,
          password: String.t() | nil,
          database: non_neg_integer | nil
        }

  @ports 1..65_535
  @databases 0..1_000_000
  @node "\"host:port\" or {host, port}"

  @doc "Parses a URL: `redis://`, `rediss://` for TLS, or `unix:` for a Unix socket."
  @spec url(String.t()) :: {:ok, url} | :error
  def url(string) do
    case URI.new(string) do
      # A "#" that is not percent-encoded in a password would cut off the host.
      {:ok, %URI{fragment: fragment}} when fragment != nil -> :error
      {:ok, %URI{scheme: scheme} = uri} when scheme in ["redis", "rediss"] -> server(uri)
      {:ok, %URI{scheme: "unix"} = uri} -> socket(uri)
      _other -> :error
    end
  end

  @doc "Validates the option `:host`."
  @spec host!(term, Options.path()) :: String.t()
  def host!(host, path),
    do: if(host?(host), do: host, else: refused!(path, "a host name or address", host))

  @doc "Validates the nodes of a cluster, or the Sentinels."
  @spec nodes!(term, Options.path()) :: [t, ...]
  def nodes!(nodes, path) do
    if is_list(nodes) and nodes != [] and not List.improper?(nodes),
      do: Enum.map(nodes, &node!(&1, path)),
      else: refused!(path, "a non-empty list of nodes, each #{@node}", nodes)
  end

  defp node!(node, path) do
    default_port = if List.last(path) == :sentinels, do: 26_379, else: 6379

    case node(node, default_port) do
      {:ok, address} -> address
      :error -> refused!(path, "#{@node}, without user and password", node)
    end
  end

  # A URL in place of a host may contain a password.
  @spec refused!(Options.path(), String.t(), term) :: no_return
  defp refused!(path, expected, got) do
    if harmless?(got),
      do: Options.expected!(path, expected, got),
      else: Options.hidden!(path, expected)
  end

  defp harmless?(text) when is_binary(text), do: not String.contains?(text, "@")
  defp harmless?([first | rest]), do: harmless?(first) and harmless?(rest)
  defp harmless?({:password, _value}), do: false
  defp harmless?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> harmless?()
  defp harmless?(other), do: is_atom(other) or is_number(other) or other == []

  defp node({host, port}, _default), do: tcp(host, port)

  defp node([{_, _} | _] = options, default) do
    case Enum.sort(options) do
      [host: host] -> tcp(host, default)
      [host: host, port: port] -> tcp(host, port)
      _other -> :error
    end
  end

  defp node(string, default) when is_binary(string) do
    uri = if string =~ "://", do: string, else: "redis://" <> string

    case URI.new(uri) do
      {:ok, %URI{scheme: "redis", userinfo: nil, path: path, query: nil, fragment: nil} = uri}
      when path in [nil, "", "/"] ->
        tcp(uri.host, uri.port || default)

      _other ->
        :error
    end
  end

  defp node(_other, _default), do: :error

  defp server(%URI{query: nil} = uri) do
    with {:ok, address} <- tcp(uri.host || "", uri.port || 6379),
         {:ok, database} <- database(uri.path),
         do: parsed(uri, address, uri.scheme == "rediss", database)
  end

  defp server(_uri), do: :error

  defp socket(%URI{path: "/" <> _ = path} = uri) when uri.host in [nil, ""] do
    path = URI.decode(path)

    with true <- String.valid?(path) || :error,
         {:ok, database} <- query(uri.query),
         do: parsed(uri, {:unix, path}, false, database)
  end

  defp socket(_uri), do: :error

  defp parsed(uri, address, ssl, database) do
    {username, password} = userinfo(uri.userinfo)

    # Percent-encoded bytes may be invalid UTF-8.
    if String.valid?(username || "") and String.valid?(password || "") do
      {:ok,
       %{address: address, ssl: ssl, username: username, password: password, database: database}}
    else
      :error
    end
  end

  # Not a URL, which may contain a password.
  defp host?(host), do: is_binary(host) and String.valid?(host) and host =~ ~r/\A[^\s\0\/@]+\z/

  defp tcp(host, port) when port in @ports,
    do: if(host?(host), do: {:ok, {:tcp, host, port}}, else: :error)

  defp tcp(_host, _port), do: :error

  # "redis://:secret@host" has a password without a user.
  defp userinfo(nil), do: {nil, nil}

  defp userinfo(info) do
    case String.split(info, ":", parts: 2) do
      ["", password] -> {nil, URI.decode(password)}
      [name, password] -> {URI.decode(name), URI.decode(password)}
      [name] -> {URI.decode(name), nil}
    end
  end

  defp database(path) when path in [nil, "", "/"], do: {:ok, nil}
  defp database("/" <> number), do: number(number)

  defp query(nil), do: {:ok, nil}
  defp query("db=" <> number), do: number(number)
  defp query(_other), do: :error

  defp number(text) do
    case Integer.parse(text) do
      {number, ""} when number in @databases -> {:ok, number}
      _other -> :error
    end
  end
end
