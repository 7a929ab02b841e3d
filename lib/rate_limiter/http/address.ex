defmodule RateLimiter.HTTP.Address do
  @moduledoc false
  # The address of a client. A header field is the client's word, except for what trusted proxies append on its right.

  import Bitwise

  alias RateLimiter.Core.Options

  @schema [
    trust: [type: :any, default: []],
    hops: [
      type: {:custom, &__MODULE__.hops?/1, "a positive integer or nil"},
      default: nil
    ],
    header: [type: :string, default: "x-forwarded-for"],
    v6: [type: {:in, 48..128}, default: 64]
  ]

  @private ~w(127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 ::1 fc00::/7 fe80::/10)

  @typep network :: {bits :: 32 | 128, shift :: non_neg_integer, prefix :: non_neg_integer}
  @type options :: %{
          trust: [network | :local],
          hops: pos_integer | nil,
          header: String.t(),
          v6: 48..128
        }

  @doc "Returns the options in the form in which a request uses them, or raises `ArgumentError`."
  @spec options!(term) :: options
  def options!(given) do
    options = Options.validate!(given, @schema, [])
    check_used!(Map.new(given))

    unless is_list(options.trust),
      do: Options.expected!([:trust], "a list of addresses and networks", options.trust)

    %{options | trust: Enum.flat_map(options.trust, &trusted!/1), header: lower(options.header)}
  end

  # No header of a peer that is not trusted is read, so all clients behind the proxy would share one limit.
  defp check_used!(%{trust: _trusted}), do: :ok

  defp check_used!(given) do
    with key when key != nil <- Enum.find([:header, :hops], &is_map_key(given, &1)) do
      Options.misuse!(
        [key],
        "applies to trusted peers only. Name the addresses of your proxies in trust:, such as trust: [:private]"
      )
    end
  end

  @doc false
  def hops?(hops), do: hops == nil or (is_integer(hops) and hops > 0)

  @doc "Returns the address of the client, as an id."
  @spec client([{binary, binary}], term, options) :: :inet.ip_address() | :local
  def client(headers, peer, options) do
    peer = peer!(peer)

    address =
      if trusted?(peer, options.trust) do
        headers |> values(options.header) |> entries(options.header) |> walk(peer, options)
      else
        peer
      end

    mask(address, options.v6)
  end

  @doc "Returns an address as a tuple, mapped IPv4 as IPv4."
  @spec parse(term) :: {:ok, :inet.ip_address()} | :error
  def parse(text) when is_binary(text) and byte_size(text) in 2..45, do: parse_text(text)
  def parse(address) when is_tuple(address), do: parse_tuple(address)
  def parse(_other), do: :error

  @doc "Returns the IPv6 network of an address with this length. IPv4 and `:local` stay what they are."
  @spec mask(:inet.ip_address() | :local, 48..128) :: :inet.ip_address() | :local
  def mask({a, b, c, d, _, _, _, _}, 64), do: {a, b, c, d, 0, 0, 0, 0}

  def mask({_, _, _, _, _, _, _, _} = address, bits) do
    shift = 128 - bits
    {_, number} = number(address)
    network = number >>> shift

    <<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>> = <<network <<< shift::128>>

    {a, b, c, d, e, f, g, h}
  end

  def mask(address, _bits), do: address

  # From the right: each proxy appends the address of its peer.
  defp walk([], address, _options), do: address
  defp walk(_entries, address, %{hops: 0}), do: address

  defp walk([entry | entries], address, %{hops: nil} = options) do
    if trusted?(address, options.trust), do: step(entry, entries, address, options), else: address
  end

  defp walk([entry | entries], address, options),
    do: step(entry, entries, address, %{options | hops: options.hops - 1})

  defp step(entry, entries, address, options) do
    case entry(entry) do
      {:ok, next} -> walk(entries, next, options)
      :error -> address
    end
  end

  defp peer!(peer) do
    case parse(peer) do
      {:ok, address} -> address
      :error when peer == :local or elem(peer, 0) == :local -> :local
      :error -> Options.expected!([:peer], "an IP address or {:local, path}", peer)
    end
  rescue
    # `elem/2` of a term that is not a tuple.
    _error in ArgumentError -> Options.expected!([:peer], "an IP address or {:local, path}", peer)
  end

  # The values of a field, the last line first.
  defp values(headers, header) do
    for {name, value} <- Enum.reverse(headers),
        is_binary(name) and is_binary(value),
        name == header or lower(name) == header,
        do: value
  end

  defp lower(name), do: String.downcase(name, :ascii)

  # The entries of a list, the last first.
  defp entries(lines, "forwarded"), do: Enum.flat_map(lines, &elements/1)

  defp entries(lines, _header),
    do: Enum.flat_map(lines, &(&1 |> :binary.split(",", [:global]) |> Enum.reverse()))

  # Elements of `Forwarded` (RFC 7239) from the right, each as its `for`. From the left, a quote that the client opens and
  # does not close would hide the element that the proxy appends.
  defp elements(line), do: line |> split_right(?,) |> Enum.map(&for_parameter/1)

  defp for_parameter(element) do
    values =
      for pair <- split_right(element, ?;),
          [name, value] <- [:binary.split(pair, "=")],
          lower(trim(name)) == "for",
          do: value

    case values do
      [value] -> value |> trim() |> unquoted()
      _none_or_several -> ""
    end
  end

  defp unquoted(<<?", rest::binary>>) when rest != "" do
    if String.ends_with?(rest, "\""), do: binary_part(rest, 0, byte_size(rest) - 1), else: ""
  end

  defp unquoted(value), do: value

  # Splits at separators outside of quoted strings, and returns the last part first.
  defp split_right(text, separator),
    do: split_right(text, separator, byte_size(text) - 1, byte_size(text), false, [])

  defp split_right(text, _separator, -1, stop, _quoted?, parts),
    do: Enum.reverse([binary_part(text, 0, stop) | parts])

  defp split_right(text, separator, at, stop, quoted?, parts) do
    case :binary.at(text, at) do
      ?" ->
        quoted? = if quoted? and escaped?(text, at), do: quoted?, else: not quoted?
        split_right(text, separator, at - 1, stop, quoted?, parts)

      ^separator when not quoted? ->
        part = binary_part(text, at + 1, stop - at - 1)
        split_right(text, separator, at - 1, at, false, [part | parts])

      _other ->
        split_right(text, separator, at - 1, stop, quoted?, parts)
    end
  end

  defp escaped?(text, at), do: rem(backslashes(text, at - 1, 0), 2) == 1

  defp backslashes(text, at, count) when at >= 0 do
    if :binary.at(text, at) == ?\\, do: backslashes(text, at - 1, count + 1), else: count
  end

  defp backslashes(_text, _at, count), do: count

  # An entry of a list: an address, which may have a port.
  defp entry(text) do
    case trim(text) do
      <<?[, rest::binary>> -> bracketed(:binary.split(rest, "]"))
      text -> with :error <- parse(text), do: without_port(:binary.split(text, ":"))
    end
  end

  defp bracketed([address, port]) do
    with true <- port == "" or port?(port),
         {:ok, {_, _, _, _, _, _, _, _} = address} <- parse_v6(address),
         do: {:ok, unmapped(address)},
         else: (_invalid -> :error)
  end

  defp bracketed(_open), do: :error

  defp without_port([address, port]) do
    with true <- port?(":" <> port), {:ok, {_, _, _, _}} = v4 <- parse(address) do
      v4
    else
      _invalid -> :error
    end
  end

  defp without_port(_none), do: :error

  defp port?(<<?:, digits::binary>>) when byte_size(digits) in 1..5,
    do: for(<<digit <- digits>>, digit not in ?0..?9, do: digit) == []

  defp port?(_other), do: false

  defp parse_text(text) do
    case :binary.match(text, ":") do
      :nomatch -> parse_v4(:binary.split(text, ".", [:global]))
      _colon -> with {:ok, address} <- parse_v6(text), do: {:ok, unmapped(address)}
    end
  end

  # Erlang's parser also takes octal and hexadecimal numbers, so one address would have several readings.
  defp parse_v4([a, b, c, d]) do
    with {:ok, a} <- octet(a), {:ok, b} <- octet(b), {:ok, c} <- octet(c), {:ok, d} <- octet(d) do
      {:ok, {a, b, c, d}}
    end
  end

  defp parse_v4(_other), do: :error

  defp octet(<<d>>) when d in ?0..?9, do: {:ok, d - ?0}

  defp octet(<<d, e>>) when d in ?1..?9 and e in ?0..?9, do: {:ok, (d - ?0) * 10 + e - ?0}

  defp octet(<<d, e, f>>) when d in ?1..?2 and e in ?0..?9 and f in ?0..?9 do
    value = (d - ?0) * 100 + (e - ?0) * 10 + f - ?0
    if value <= 255, do: {:ok, value}, else: :error
  end

  defp octet(_other), do: :error

  # Without a zone, which names an interface of another machine.
  defp parse_v6(text) do
    with true <- byte_size(text) <= 45 and v6_characters?(text),
         {:ok, address} <- :inet.parse_ipv6strict_address(String.to_charlist(text)) do
      {:ok, address}
    else
      _invalid -> :error
    end
  end

  defp v6_characters?(<<c, rest::binary>>)
       when c in ?0..?9 or c in ?a..?f or c in ?A..?F or c == ?: or c == ?.,
       do: v6_characters?(rest)

  defp v6_characters?(rest), do: rest == ""

  defp parse_tuple({a, b, c, d} = address)
       when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255,
       do: {:ok, address}

  defp parse_tuple({_, _, _, _, _, _, _, _} = address) do
    if Enum.all?(Tuple.to_list(address), &(&1 in 0..0xFFFF)),
      do: {:ok, unmapped(address)},
      else: :error
  end

  defp parse_tuple(_other), do: :error

  defp unmapped({0, 0, 0, 0, 0, 0xFFFF, high, low}),
    do: {high >>> 8, high &&& 0xFF, low >>> 8, low &&& 0xFF}

  defp unmapped(address), do: address

  defp trim(text), do: text |> trim_left() |> trim_right()

  defp trim_left(<<c, rest::binary>>) when c in [?\s, ?\t], do: trim_left(rest)
  defp trim_left(text), do: text

  defp trim_right(text) do
    if String.ends_with?(text, [" ", "\t"]),
      do: text |> binary_part(0, byte_size(text) - 1) |> trim_right(),
      else: text
  end

  defp trusted?(_address, []), do: false
  defp trusted?(:local, trust), do: :local in trust

  defp trusted?(address, trust) do
    {bits, number} = number(address)
    Enum.any?(trust, &match?({^bits, shift, prefix} when number >>> shift == prefix, &1))
  end

  defp trusted!(:private), do: Enum.flat_map(@private, &trusted!/1)
  defp trusted!(:local), do: [:local]

  defp trusted!(text) when is_binary(text) do
    with [address | length] <- :binary.split(text, "/"),
         {:ok, address} <- parse(address),
         {bits, number} = number(address),
         {:ok, length} <- prefix_length(length, bits),
         shift = bits - length,
         network = number >>> shift,
         # Otherwise the network is not the one that was meant.
         true <- network <<< shift == number do
      [{bits, shift, network}]
    else
      _invalid -> untrusted!(text)
    end
  end

  defp trusted!(other), do: untrusted!(other)

  @spec untrusted!(term) :: no_return
  defp untrusted!(value) do
    Options.expected!(
      [:trust],
      ~s(addresses, networks such as "10.0.0.0/8" without bits after the prefix, :private or :local),
      value
    )
  end

  defp prefix_length([], bits), do: {:ok, bits}

  defp prefix_length([text], bits) do
    case Integer.parse(text) do
      {length, ""} when length in 0..bits//1 -> {:ok, length}
      _other -> :error
    end
  end

  defp number({a, b, c, d}), do: {32, a <<< 24 ||| b <<< 16 ||| c <<< 8 ||| d}

  defp number(address) do
    {128, address |> Tuple.to_list() |> Enum.reduce(0, &(&2 <<< 16 ||| &1))}
  end
end
