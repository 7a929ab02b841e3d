defmodule RateLimiter.Audit do
  @moduledoc ~S"""
  One structured line for each denied call, and for each that a window in shadow mode would have denied. Off by default.

      # in the application's start/2, before its children
      RateLimiter.Audit.attach(key: {"2026-11", {:system, "LIMITS_AUDIT_KEY"}})

  Each line is JSON, logged at `:notice` with the domain `[:rate_limiter, :audit]`, by which a handler of
  [`:logger`](https://www.erlang.org/doc/apps/kernel/logger_chapter#filters) can send it to a file of its own:

      {"time": "2026-11-30T03:12:45.120394Z", "event": "violation", "node": "shop@10.0.0.7", "limiter": "login",
       "window": "attempts", "cost": 1, "max": 5, "current": 5, "retry_after_ms": 720000, "source": "local",
       "id": "5fd924625f6ab16a", "key": "2026-11", "left_out": 0}

  `event` is `violation`, or `would_deny` for a call that was admitted because its window is in shadow mode.

  ## Ids

  No line has an id in clear. With `ids: :hashed`, the default, `id` is the beginning of an HMAC-SHA-256 under the key: the same on
  all nodes that have the key. Without the key, the id cannot be found by trying all ids. `hash/1` returns it for an id that you
  look for. While the audit is attached, `:id_hash` of all events is made under this key, too.

  `key` in the line is the key's name. To rotate a key, attach again with a new one under a new name: lines of one id before and after
  then have nothing in common. After the old key is deleted, its lines can no longer be related to an id.

  With `ids: :networks`, an id that is an IP address appears as its network, /24 of IPv4 and /64 of IPv6, in the field `network` instead
  of `id`. Other ids are hashed.

  ## In an attack

  At most `:lines` are written, by default 100 a second. `left_out` of the next line is the number of those before it that were not.
  The process whose call was denied builds the line, which takes as long as some fifteen checks; one that is left out takes half of it,
  for the event. An admitted call costs nothing.
  """

  require Logger

  alias RateLimiter.Core.{Json, Limit, Options, Secret}
  alias RateLimiter.Store
  alias RateLimiter.Telemetry.IdHash

  @events [[:rate_limiter, :violation], [:rate_limiter, :would_deny]]

  @schema [
    key: [
      type:
        {:custom, &__MODULE__.key?/1,
         "{name, secret}: a name, and a string, a function or {:system, name}"},
      required: true,
      secret: true,
      doc:
        "`{name, secret}`: a name that stands in the lines, and the key itself, at least 16 bytes: a string, a " <>
          "function that returns it, or `{:system, name}` for an environment variable. It is read once."
    ],
    ids: [
      type: {:in, [:hashed, :networks]},
      default: :hashed,
      doc: "what lines have of an id: `:hashed`, or `:networks` of ids that are addresses."
    ],
    lines: [
      type: {:custom, &Limit.new!/2, "the options of a limit"},
      default: [limit: 100, per: :second],
      doc: "how many lines are written, as the options of a window."
    ],
    to: [
      type: {:custom, &__MODULE__.writer?/1, "a function of a line"},
      doc:
        "a function that writes a line, called by the process whose call was denied. Default: `Logger`."
    ]
  ]

  @doc false
  def key?({name, secret}), do: is_binary(name) and String.valid?(name) and Secret.secret?(secret)
  def key?(_other), do: false

  @doc false
  def writer?(to), do: is_function(to, 1)

  @doc """
  Attaches the audit, or attaches it again with other options.

  ## Options

  #{Options.docs(@schema)}

  ## Examples

      iex> RateLimiter.Audit.attach(key: {"2026-11", fn -> "a key of at least 16 bytes" end}, to: &IO.puts/1)
      :ok
      iex> RateLimiter.Audit.hash("ann")
      "97b714565a6498f7"
      iex> RateLimiter.Audit.detach()
      :ok

  Raises `ArgumentError` for an invalid option, and for a key that cannot be read.
  """
  @spec attach(keyword) :: :ok
  def attach(options) do
    config = Options.validate!(options, @schema, [])
    {name, secret} = config.key
    key = Secret.key!(secret, [:key])
    lines = if is_list(config.lines), do: Limit.new!(config.lines, [:lines]), else: config.lines
    limiter = %{windows: [lines: lines], events: :none, max_keys: 1}
    {:ok, handle, owner} = Store.new_limiter(limiter, :monotonic)
    detach()
    IdHash.put_key(name, key, config.ids == :networks)

    # The limit of the lines lives as long as its owner, and so as long as the handler.
    :telemetry.attach_many(__MODULE__, @events, &__MODULE__.handle/4, %{
      lines: {handle, owner},
      left_out: :atomics.new(1, signed: false),
      to: config.to || (&__MODULE__.log/1)
    })
  end

  @doc "Detaches the audit. Events then have hashes under a key that this node draws."
  @spec detach() :: :ok
  def detach do
    with :ok <- :telemetry.detach(__MODULE__), do: IdHash.draw_key()
    :ok
  end

  @doc "Returns the hash of an id, as lines and events have it now."
  @spec hash(RateLimiter.id()) :: String.t()
  defdelegate hash(id), to: IdHash

  @doc false
  def log(line), do: Logger.notice(line, domain: [:rate_limiter, :audit])

  @doc false
  def handle([_, event], measurements, metadata, %{left_out: left_out, to: to} = config) do
    {handle, _owner} = config.lines

    if Store.take?(handle, :lines, :lines) do
      before = :atomics.exchange(left_out, 1, 0)
      write(line(event, measurements, metadata, before), before, to, left_out)
    else
      :atomics.add(left_out, 1, 1)
    end
  end

  # A handler that raises is detached.
  defp write(line, before, to, left_out) do
    to.(line)
  rescue
    _error -> :atomics.add(left_out, 1, before + 1)
  end

  defp line(event, measurements, metadata, left_out) do
    fields =
      [time: DateTime.to_iso8601(DateTime.utc_now()), event: text(event), node: text(node())] ++
        for(key <- [:limiter, :window], do: {key, text(metadata[key])}) ++
        for(key <- [:cost, :max, :current], do: {key, measurements[key]}) ++
        [retry_after_ms: wait(metadata.retry_after_ms), source: text(metadata.source)] ++
        who(metadata) ++ [left_out: left_out]

    fields |> Json.line() |> IO.iodata_to_binary()
  end

  defp who(%{network: network}), do: [network: network]
  defp who(%{id_hash: hash}), do: [id: hash, key: IdHash.key_name()]

  defp text(atom), do: Atom.to_string(atom)

  defp wait(:infinity), do: nil
  defp wait(ms), do: ms
end
