defmodule RateLimiter.Telemetry.IdHash do
  @moduledoc false
  # Ids as events and audit lines name them: hashed under a key, so that an id cannot be found by trying all of them.
  #
  # The key is one that the node draws, or one of the operator's, which all nodes share.

  alias RateLimiter.HTTP.Address

  @key {__MODULE__, :key}

  @doc "Draws a key, unless there is one."
  @spec start() :: :ok
  def start, do: if(:persistent_term.get(@key, nil), do: :ok, else: draw_key())

  @doc "Draws a key. A change makes the runtime scan all processes."
  @spec draw_key() :: :ok
  def draw_key, do: put_key(nil, :crypto.strong_rand_bytes(32), false)

  @doc "Hashes under this key from now on. Its name is `nil` if the node has drawn it."
  @spec put_key(String.t() | nil, binary, networks? :: boolean) :: :ok
  def put_key(name, key, networks?), do: :persistent_term.put(@key, {name, key, networks?})

  @doc "Returns the name of the operator's key."
  @spec key_name() :: String.t() | nil
  def key_name, do: @key |> :persistent_term.get() |> elem(0)

  @doc "Returns what identifies an id in an event: its hash and, if wanted, the network of an address."
  @spec fields(RateLimiter.id()) :: %{
          required(:id_hash) => String.t(),
          optional(:network) => String.t()
        }
  def fields(id) do
    {_name, _key, networks?} = :persistent_term.get(@key)

    with true <- networks?,
         {:ok, address} <- Address.parse(id) do
      %{id_hash: hash(id), network: network(address)}
    else
      _other -> %{id_hash: hash(id)}
    end
  end

  @doc "Returns the first 64 bits of the HMAC-SHA-256 of an id, in hexadecimal."
  @spec hash(RateLimiter.id()) :: String.t()
  def hash(id) do
    {_name, key, _networks?} = :persistent_term.get(@key)

    # Version 2 encodes atoms alike on all releases of OTP.
    :hmac
    |> :crypto.mac(:sha256, key, :erlang.term_to_binary(id, minor_version: 2))
    |> binary_part(0, 8)
    |> Base.encode16(case: :lower)
  end

  defp network({a, b, c, _}), do: "#{a}.#{b}.#{c}.0/24"
  defp network(v6), do: "#{v6 |> Address.mask(64) |> :inet.ntoa()}/64"
end
