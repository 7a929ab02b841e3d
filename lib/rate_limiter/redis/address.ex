defmodule RateLimiter.Redis.Address do
  @moduledoc false
  # Where a server is, as people write it: a URL, "host:port", `{host, port}` or `[host: host, port: port]`.

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

  @doc "What a URL says: `redis://`, `rediss://` for TLS, or `unix:` for a socket."
  @spec url(String.t()) :: {:ok, url} | :error
  def url(string) do
    case URI.new(string) do
      {:ok, %URI{scheme: scheme} = uri} when scheme in ["redis", "rediss"] -> server(uri)
      {:ok, %URI{scheme: "unix"} = uri} -> socket(uri)
      _other -> :error
    end
  end

  @doc "The address of one of several nodes."
  @spec node(term, default_port :: pos_integer) :: {:ok, t} | :error
  def node({host, port}, _default), do: tcp(host, port)

  def node([{_, _} | _] = options, default) do
    case Enum.sort(options) do
      [host: host] -> tcp(host, default)
      [host: host, port: port] -> tcp(host, port)
      _other -> :error
    end
  end

  def node(string, default) when is_binary(string) do
    uri = if string =~ "://", do: string, else: "redis://" <> string

    case URI.new(uri) do
      {:ok, %URI{scheme: "redis", userinfo: nil, path: path, query: nil} = uri}
      when path in [nil, "", "/"] ->
        tcp(uri.host, uri.port || default)

      _other ->
        :error
    end
  end

  def node(_other, _default), do: :error

  defp server(%URI{query: nil} = uri) do
    with {:ok, address} <- tcp(uri.host || "", uri.port || 6379),
         {:ok, database} <- database(uri.path),
         do: known(uri, address, uri.scheme == "rediss", database)
  end

  defp server(_uri), do: :error

  defp socket(%URI{path: "/" <> _ = path} = uri) when uri.host in [nil, ""] do
    path = URI.decode(path)

    with true <- String.valid?(path) || :error,
         {:ok, database} <- query(uri.query),
         do: known(uri, {:unix, path}, false, database)
  end

  defp socket(_uri), do: :error

  defp known(uri, address, ssl, database) do
    {username, password} = userinfo(uri.userinfo)

    # What is written as %FF is no text.
    if String.valid?(username || "") and String.valid?(password || "") do
      {:ok,
       %{address: address, ssl: ssl, username: username, password: password, database: database}}
    else
      :error
    end
  end

  @doc "Whether this can be a host's name or address: not a URL, which may hold a password and would be shown."
  @spec host?(term) :: boolean
  def host?(host), do: is_binary(host) and String.valid?(host) and host =~ ~r/\A[^\s\0\/@]+\z/

  defp tcp(host, port) when port in @ports,
    do: if(host?(host), do: {:ok, {:tcp, host, port}}, else: :error)

  defp tcp(_host, _port), do: :error

  # "redis://:secret@host" has a password alone.
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
