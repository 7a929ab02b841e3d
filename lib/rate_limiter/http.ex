defmodule RateLimiter.HTTP do
  @moduledoc """
  Answers as header fields and problem documents, and the address of a client behind proxies.

  All functions return plain data, for any server. They cost a check nothing: they run after it, and only if called.
  """

  alias RateLimiter.HTTP.{Address, Policy, Problem, Serializer}

  @typedoc "A header field: its name in lower case and its value."
  @type field :: {name :: String.t(), value :: String.t()}

  @typedoc """
  A pinned format of the fields.

    * `:draft_11` - `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11, one member for each
      window. Revision 10 has the same fields
    * `:draft_6` - `RateLimit-Limit`, `-Remaining`, `-Reset` (seconds from now) and `RateLimit-Policy`
    * `:x_rate_limit` or `{:x_rate_limit, :epoch}` - `X-RateLimit-Limit`, `-Remaining`, `-Reset`, with the reset in Unix
      seconds
    * `{:x_rate_limit, :delta}` - the same, with the reset in seconds from now
    * `:none` - none of them
  """
  @type format ::
          :draft_11 | :draft_6 | :x_rate_limit | {:x_rate_limit, :epoch | :delta} | :none

  @typedoc "A type of problem, as the draft registers it."
  @type problem_type :: :quota_exceeded | :temporary_reduced_capacity | :abnormal_usage_detected

  @formats [:draft_11, :draft_6, :x_rate_limit, :none] ++
             [{:x_rate_limit, :epoch}, {:x_rate_limit, :delta}]

  @doc """
  Returns the header fields of an answer.

  Options:

    * `:format` - a `t:format/0`, by default `:draft_11`
    * `:jitter` - up to this many seconds are added to `Retry-After` at random, so that denied clients do not return
      together. By default 0

  Every format has `retry-after` if the call was denied and can be admitted later: whole seconds, rounded up, at least 1,
  and never before the `t` of a window that denied the call. The answer to a call that can never be admitted does not have
  the field.

  In `:draft_11`, `t` is the time over which `r` is available: a client that spreads `r` requests over `t` seconds stays
  within the configured rate, at the present scale. It is at least `next_after_ms`, the time until more than `r` is
  available. For a denied window, `t` is the time to retry. Sub-second periods have no `w`.

  A window in shadow mode (`enforce: false`) is not announced: a client that slowed down for it would be limited. With no other
  window, there are no fields.

  `limit`, period and `t` of an admitted call are those of the running limiter. If it is not running on this node, the
  quota is `usage.max`, and `w` and `t` are left out.

      iex> answer = RateLimiter.check_and_track(:login, "203.0.113.7", :attempts)
      iex> RateLimiter.HTTP.fields(answer)
      [{"ratelimit-policy", ~s("attempts";q=5;w=3600)}, {"ratelimit", ~s("attempts";r=4;t=2880)}]
      iex> RateLimiter.HTTP.fields(answer, format: {:x_rate_limit, :delta})
      [{"x-ratelimit-limit", "5"}, {"x-ratelimit-remaining", "4"}, {"x-ratelimit-reset", "720"}]

  Raises `ArgumentError` for unknown options.
  """
  @spec fields(RateLimiter.answer(), format: format, jitter: non_neg_integer) :: [field]
  def fields(answer, options \\ []) do
    {format, jitter} = options!(options)
    policies = Policy.all(answer)
    Serializer.fields(format, policies) ++ retry_after(answer, policies, jitter)
  end

  @doc """
  Returns a denied answer as the status, the content type and the body of a problem document (RFC 9457).

  The type is one of the three that the draft registers. The status is 429 with `quota-exceeded` if the caller has used
  its quota, and 503 with `temporary-reduced-capacity` if the configured limit would have admitted the call: during an
  outage of Redis, or while the limit is scaled down. `type: :abnormal_usage_detected`, for callers that the application
  bans, is 429.

      iex> for _ <- 1..5, do: RateLimiter.check_and_track(:login, "203.0.113.8", :attempts)
      iex> answer = RateLimiter.check_and_track(:login, "203.0.113.8", :attempts)
      iex> {429, "application/problem+json", body} = RateLimiter.HTTP.problem(answer)
      iex> IO.iodata_to_binary(body)
      ~s({"type":"https://iana.org/assignments/http-problem-types#quota-exceeded",) <>
        ~s("title":"Quota exceeded","status":429,"violated-policies":["attempts"]})

  Raises `ArgumentError` for an admitted answer.
  """
  @spec problem(RateLimiter.answer(), type: problem_type) :: {429 | 503, String.t(), iodata}
  def problem(answer, options \\ [])

  def problem({:error, _reason, %RateLimiter.Usage{}} = answer, options),
    do: Problem.new(answer, Policy.all(answer), options)

  def problem(other, _options),
    do: raise(ArgumentError, "expected a denied answer, got: #{shown(other)}")

  @doc """
  Returns the address of the client of a request, to be used as an id.

  `headers` are the header fields of the request as `{name, value}` binaries, in their order, and `peer` is the address of
  the connection.

  Options:

    * `:trust` - the proxies whose header field is believed: a list of addresses and networks in CIDR notation, of
      `:private` (loopback, private and link-local networks), and of `:local` (a peer on a Unix socket). By default none
    * `:hops` - the number of proxies that each request passes, counted from the right of the list. By default, each
      trusted address is a proxy, and the first other one from the right is the client
    * `:header` - the field that the proxies write: `"x-forwarded-for"`, the default, `"forwarded"`, or a field of one
      address, for example `"cf-connecting-ip"` or `"fly-client-ip"`. This and `:hops` need `:trust`
    * `:v6` - the prefix length of IPv6 networks, 48 to 128, by default 64: one customer has a /64 or more

  A peer that is not trusted is the client: its headers are not read. An address that is not valid ends the list, so the
  proxy that reported it counts as the client. IPv4 addresses that are mapped into IPv6 are returned as IPv4. A peer on a Unix
  socket that sends no valid address is `:local`. No header raises.

      iex> headers = [{"x-forwarded-for", "198.51.100.1, 203.0.113.7"}]
      iex> RateLimiter.HTTP.client_ip(headers, {10, 0, 0, 1}, trust: ["10.0.0.0/8"])
      {203, 0, 113, 7}
      iex> RateLimiter.HTTP.client_ip(headers, {192, 0, 2, 1}, trust: ["10.0.0.0/8"])
      {192, 0, 2, 1}

  Raises `ArgumentError` for invalid options. They are checked at each call.
  """
  @spec client_ip([field], :inet.ip_address() | {:local, term} | :local, keyword) ::
          :inet.ip_address() | :local
  def client_ip(headers, peer, options \\ []),
    do: Address.client(headers, peer, Address.options!(options))

  @doc """
  Returns an address as an id: IPv6 as its network, and IPv4 that is mapped into IPv6 as IPv4.

  Takes a tuple, or text without a port. `v6:` is the length of the prefix, 48 to 128, by default 64.

      iex> RateLimiter.HTTP.prefix("2001:db8:1:2:3:4:5:6")
      {:ok, {0x2001, 0xDB8, 1, 2, 0, 0, 0, 0}}
      iex> RateLimiter.HTTP.prefix({0, 0, 0, 0, 0, 0xFFFF, 0xCB00, 0x7107})
      {:ok, {203, 0, 113, 7}}
      iex> RateLimiter.HTTP.prefix("localhost")
      {:error, :invalid_address}
  """
  @spec prefix(:inet.ip_address() | String.t(), v6: 48..128) ::
          {:ok, :inet.ip_address()} | {:error, :invalid_address}
  def prefix(address, options \\ []) do
    %{v6: bits} = Address.options!(options)

    case Address.parse(address) do
      {:ok, address} -> {:ok, Address.mask(address, bits)}
      :error -> {:error, :invalid_address}
    end
  end

  @doc false
  @spec options!(term) :: {format, non_neg_integer}
  def options!(options) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "expected a keyword list of options, got: #{shown(options)}")

    case Keyword.keys(options) -- [:format, :jitter] do
      [] -> :ok
      [key | _] -> raise ArgumentError, "unknown option #{inspect(key)}, use :format or :jitter"
    end

    {format!(Keyword.get(options, :format, :draft_11)), jitter!(Keyword.get(options, :jitter, 0))}
  end

  defp format!(format) when format in @formats, do: format

  defp format!(other) do
    known = Enum.map_join(@formats, ", ", &inspect/1)
    raise ArgumentError, "format: expected one of #{known}, got: #{shown(other)}"
  end

  defp jitter!(seconds) when is_integer(seconds) and seconds in 0..86_400, do: seconds

  defp jitter!(other) do
    raise ArgumentError, "jitter: expected seconds from 0 to 86,400, got: #{shown(other)}"
  end

  defp retry_after({:ok, _usage}, _policies, _jitter), do: []

  defp retry_after(_denied, policies, jitter) do
    case Policy.retry_after(policies) do
      :infinity -> []
      seconds -> [{"retry-after", Integer.to_string(seconds + random(jitter))}]
    end
  end

  defp random(0), do: 0
  defp random(jitter), do: :rand.uniform(jitter + 1) - 1

  defp shown(term), do: RateLimiter.Core.Options.show(term)
end
