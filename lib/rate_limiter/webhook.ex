defmodule RateLimiter.Webhook do
  @moduledoc """
  Tells a URL about outages, thresholds, escalated pain and changed limits.

      children = [
        {RateLimiter, options},
        {RateLimiter.Webhook,
         url: "https://hooks.example.com/limits", secret: {:system, "LIMITS_WEBHOOK_SECRET"}}
      ]

  Each message is a POST of JSON, signed as [Standard Webhooks](https://www.standardwebhooks.com) describes: the receiver
  verifies `webhook-id`, `webhook-timestamp` and `webhook-signature` with one of its libraries.

      {
        "type": "outage.started",
        "timestamp": "2026-11-30T03:12:45.120394Z",
        "data": {
          "count": 1,
          "instance": "Elixir.RateLimiter",
          "limiter": "api",
          "node": "shop@10.0.0.7",
          "nodes": 3,
          "on_outage": "share"
        }
      }

  | `type` | told when | event |
  | --- | --- | --- |
  | `outage.started`, `outage.ended` | a limiter begins to decide without Redis, and uses it again | `[:rate_limiter, :fallback, :started]`, `:stopped` |
  | `threshold.reached` | an id has used the share `:threshold` of a limit | `[:rate_limiter, :threshold]` |
  | `pain.escalated` | pain of a subsystem was not resolved in time | `[:rate_limiter, :algedonic, :escalation]` |
  | `limit.changed` | a limit was changed at run time | `[:rate_limiter, :limit, :changed]` |

  `data` has the measurements and the metadata of the event, see `RateLimiter.Telemetry`. Ids are hashed there.

  ## Delivery

  Messages are sent one after the other, in the order of their events on this node. Any answer but 2xx is a failure: the message
  is sent again after one second, then two, and so on up to a minute, or after what `retry-after` asks for. So a message arrives
  at least once: a receiver that sees a `webhook-id` twice ignores the second.

  Of more than `:max_queue` waiting messages, the oldest is dropped. Waiting messages are lost when the node stops. `stats/1` counts both
  ways; a failure and the end of failures are logged once, at `:warning`.

  Nothing of this happens in the process that caused the event: it sends one message to the webhook's process.

  HTTPS needs the applications `:inets` and `:ssl`: add them to `:extra_applications` in mix.exs. Certificates are verified against
  those of the operating system.
  """

  use GenServer

  require Logger

  alias RateLimiter.Core.{Options, Secret}
  alias RateLimiter.Webhook.Message

  @kinds Message.kinds() |> Map.keys() |> Enum.sort()

  @schema [
    url: [
      type: {:custom, &__MODULE__.url?/1, "a URL that begins with https:// or http://"},
      required: true,
      doc: "where messages are sent."
    ],
    secret: [
      type: Secret.type(),
      required: true,
      secret: true,
      doc:
        "the secret of the signature, `whsec_` and 24 to 64 bytes in base64: a string, a function that returns it, or " <>
          "`{:system, name}` for an environment variable. It is read at each attempt, so it can be rotated."
    ],
    only: [
      type:
        {:custom, &__MODULE__.kinds?/1,
         "a non-empty list of #{Enum.map_join(@kinds, ", ", &inspect/1)}"},
      default: @kinds,
      doc: "the types of messages to send."
    ],
    max_queue: [
      type: :pos_integer,
      default: 1_000,
      doc: "the maximum number of messages that wait."
    ],
    cacertfile: [
      type: :string,
      doc:
        "the file of the authorities that the server's certificate is verified against. Default: those of the operating " <>
          "system."
    ],
    timeout: [
      type: :milliseconds,
      default: 5_000,
      doc: "milliseconds until an attempt without an answer has failed."
    ],
    name: [
      type: :atom,
      default: __MODULE__,
      doc: "the name of the process. A second webhook needs another one."
    ]
  ]

  @first_pause_ms 1_000
  @longest_pause_ms 60_000
  @longest_retry_after_s 3_600

  @doc false
  def url?(url) do
    with true <- is_binary(url) and String.valid?(url),
         %URI{scheme: scheme, host: host} <- URI.parse(url),
         do: scheme in ["http", "https"] and host not in [nil, ""]
  end

  @doc false
  def kinds?(kinds), do: is_list(kinds) and kinds != [] and Enum.all?(kinds, &(&1 in @kinds))

  @doc "Returns the child specification of a webhook. Takes the options of `start_link/1`."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id:
        if(Keyword.keyword?(options),
          do: Keyword.get(options, :name, __MODULE__),
          else: __MODULE__
        ),
      start: {__MODULE__, :start_link, [Options.map(options, &hide/1)]}
    }
  end

  defp hide({:secret, secret}), do: {:secret, Secret.hide(secret)}
  defp hide(other), do: other

  @doc """
  Starts the process of a webhook, linked to the caller.

  ## Options

  #{Options.docs(@schema)}

  Raises `ArgumentError` for an invalid option, and where the application `:inets`, or for HTTPS `:ssl`, is not part of the release.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    config = options |> Options.map(&hide/1) |> Options.validate!(@schema, [])

    for application <- [:inets | if(tls?(config.url), do: [:ssl], else: [])],
        do: start!(application)

    GenServer.start_link(__MODULE__, config, name: config.name)
  end

  @doc """
  Returns how many messages wait, and how many were delivered and dropped since the start; and the last failure in words, `nil` after
  a message has arrived.
  """
  @spec stats(GenServer.server()) :: %{
          waiting: non_neg_integer,
          delivered: non_neg_integer,
          dropped: non_neg_integer,
          failure: String.t() | nil
        }
  def stats(webhook \\ __MODULE__), do: GenServer.call(webhook, :stats)

  defp start!(application) do
    with {:error, _reason} <- Application.ensure_all_started(application) do
      raise ArgumentError,
            "expected the application #{inspect(application)}, which sends webhooks: add it to extra_applications in mix.exs"
    end
  end

  ## The process: `queue` waits, of which the first is on its way if there is a `request`

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    kinds = Message.kinds()
    _not_found = :telemetry.detach({__MODULE__, config.name})

    :ok =
      :telemetry.attach_many(
        {__MODULE__, config.name},
        Enum.map(config.only, &Map.fetch!(kinds, &1)),
        &__MODULE__.handle/4,
        self()
      )

    {:ok,
     %{
       config: config,
       queue: :queue.new(),
       waiting: 0,
       request: nil,
       attempts: 0,
       delivered: 0,
       dropped: 0,
       failure: nil
     }}
  end

  @impl true
  def terminate(_reason, %{config: config}), do: :telemetry.detach({__MODULE__, config.name})

  @doc false
  def handle(event, measurements, metadata, webhook),
    do: send(webhook, {:told, event, measurements, metadata, System.os_time(:microsecond)})

  @impl true
  def handle_call(:stats, _from, state),
    do: {:reply, Map.take(state, [:waiting, :delivered, :dropped, :failure]), state}

  @impl true
  def handle_info({:told, event, measurements, metadata, unix_us}, state) do
    message = Message.new(event, measurements, metadata, unix_us)
    state = %{state | queue: :queue.in(message, state.queue), waiting: state.waiting + 1}
    {:noreply, state |> drop_oldest() |> next()}
  end

  def handle_info({:http, {request, answer}}, %{request: request} = state),
    do: {:noreply, answered(%{state | request: nil}, answer)}

  # The answer to a message that was dropped on its way.
  def handle_info({:http, _other}, state), do: {:noreply, state}
  def handle_info(:again, state), do: {:noreply, send_first(state)}

  defp drop_oldest(%{waiting: waiting, config: %{max_queue: max}} = state) when waiting <= max,
    do: state

  # The first may be on its way: then the next one is the oldest that is not.
  defp drop_oldest(%{attempts: attempts} = state) do
    {{:value, first}, queue} = :queue.out(state.queue)

    queue =
      if attempts > 0 and state.waiting > 1,
        do: :queue.in_r(first, :queue.drop(queue)),
        else: queue

    %{state | queue: queue, waiting: state.waiting - 1, dropped: state.dropped + 1}
  end

  # Nothing is sent while a message is on its way, or waits to be sent again.
  defp next(%{attempts: 0, waiting: waiting} = state) when waiting > 0, do: send_first(state)
  defp next(state), do: state

  defp send_first(state) do
    state = %{state | attempts: state.attempts + 1}

    case request(:queue.get(state.queue), state.config) do
      {:ok, request} -> %{state | request: request}
      {:error, reason} -> failed(state, reason, nil)
    end
  end

  defp request(message, config) do
    with {:ok, secret} <- Secret.read(config.secret),
         {:ok, headers} <- Message.headers(message, secret, System.os_time(:second)),
         {:ok, options} <- options(config) do
      headers = for {name, value} <- headers, do: {to_charlist(name), to_charlist(value)}
      request = {to_charlist(config.url), headers, ~c"application/json", message.body}
      :httpc.request(:post, request, options, sync: false, body_format: :binary)
    end
  end

  defp options(%{timeout: timeout} = config) do
    with {:ok, ssl} <- ssl(config),
         do: {:ok, ssl ++ [timeout: timeout, connect_timeout: timeout, autoredirect: false]}
  end

  defp ssl(%{url: url, cacertfile: cacertfile}) do
    if tls?(url), do: {:ok, [ssl: trusted(cacertfile) ++ verified()]}, else: {:ok, []}
  rescue
    error -> {:error, "no certificates of authorities are found: #{Exception.message(error)}"}
  end

  defp trusted(nil), do: [cacerts: :public_key.cacerts_get()]
  defp trusted(file), do: [cacertfile: file]

  defp verified do
    match = :public_key.pkix_verify_hostname_match_fun(:https)
    [verify: :verify_peer, depth: 8, customize_hostname_check: [match_fun: match]]
  end

  defp tls?(url), do: String.starts_with?(url, "https:")

  defp answered(state, {{_version, status, _phrase}, _headers, _body}) when status in 200..299 do
    if state.failure, do: log(state, "delivers again")
    queue = :queue.drop(state.queue)
    state = %{state | queue: queue, waiting: state.waiting - 1, delivered: state.delivered + 1}
    next(%{state | attempts: 0, failure: nil})
  end

  defp answered(state, {{_version, status, _phrase}, headers, _body}),
    do: failed(state, "the answer has the status #{status}", retry_after_ms(headers))

  defp answered(state, {:error, reason}), do: failed(state, Options.show(reason), nil)

  defp failed(state, reason, retry_after_ms) do
    unless state.failure, do: log(state, "cannot deliver, and tries again: #{reason}")
    Process.send_after(self(), :again, retry_after_ms || pause_ms(state.attempts))
    %{state | failure: reason}
  end

  # Each node pauses a little differently, so that not all of them come back at one moment.
  defp pause_ms(attempts) do
    longest = min(@first_pause_ms * 2 ** min(attempts - 1, 10), @longest_pause_ms)
    div(longest, 2) + :rand.uniform(div(longest, 2))
  end

  defp retry_after_ms(headers) do
    with {_name, value} <- List.keyfind(headers, ~c"retry-after", 0),
         {seconds, ""} when seconds >= 0 <- value |> to_string() |> Integer.parse(),
         do: max(min(seconds, @longest_retry_after_s) * 1_000, @first_pause_ms),
         else: (_none -> nil)
  end

  defp log(state, line),
    do: Logger.warning("RateLimiter webhook #{inspect(state.config.name)}: #{line}")
end
