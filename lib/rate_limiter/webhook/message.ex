defmodule RateLimiter.Webhook.Message do
  @moduledoc false
  # The body of a webhook, as JSON, and its headers as Standard Webhooks 1.0 describes them (www.standardwebhooks.com).

  alias RateLimiter.Core.{Json, Options}

  @enforce_keys [:id, :kind, :body]
  defstruct [:id, :kind, :body]

  @type t :: %__MODULE__{id: String.t(), kind: String.t(), body: binary}

  @kinds %{
    [:rate_limiter, :fallback, :started] => "outage.started",
    [:rate_limiter, :fallback, :stopped] => "outage.ended",
    [:rate_limiter, :threshold] => "threshold.reached",
    [:rate_limiter, :algedonic, :escalation] => "pain.escalated",
    [:rate_limiter, :limit, :changed] => "limit.changed"
  }

  @prefix "whsec_"

  @doc "Returns the telemetry events that a webhook can tell, by the kind of message."
  @spec kinds() :: %{String.t() => [atom]}
  def kinds, do: Map.new(@kinds, fn {event, kind} -> {kind, event} end)

  @doc "Returns the message about a telemetry event at this time."
  @spec new([atom], map, map, unix_us :: integer) :: t
  def new(event, measurements, metadata, unix_us) do
    kind = Map.fetch!(@kinds, event)
    fields = measurements |> Map.merge(metadata) |> Map.put(:node, node())

    body =
      Json.encode(
        type: kind,
        timestamp: unix_us |> DateTime.from_unix!(:microsecond) |> DateTime.to_iso8601(),
        data: value(fields)
      )

    id = "msg_" <> Base.url_encode64(:crypto.strong_rand_bytes(18))
    %__MODULE__{id: id, kind: kind, body: IO.iodata_to_binary(body)}
  end

  # Names of limiters and instances are atoms or any terms. A term without a form in JSON is sent as Elixir prints it.
  defp value(value) when is_number(value) or is_boolean(value) or is_nil(value), do: value
  defp value(value) when is_atom(value), do: Atom.to_string(value)

  defp value(value) when is_binary(value),
    do: if(String.valid?(value), do: value, else: Options.show(value))

  defp value(%{} = fields) when not is_struct(fields),
    do: for({key, value} <- Enum.sort(fields), do: {key, value(value)})

  defp value(value), do: Options.show(value)

  @doc """
  Returns the headers of an attempt to send a message, signed under a secret.

      iex> message = %RateLimiter.Webhook.Message{
      ...>   id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
      ...>   kind: "test",
      ...>   body: ~s({"test": 2432232314})
      ...> }
      iex> {:ok, headers} =
      ...>   RateLimiter.Webhook.Message.headers(message, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_614_265_330)
      iex> headers
      [
        {"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"},
        {"webhook-timestamp", "1614265330"},
        {"webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}
      ]
  """
  @spec headers(t, String.t(), integer) ::
          {:ok, [{String.t(), String.t()}]} | {:error, String.t()}
  def headers(%__MODULE__{id: id, body: body}, secret, unix_seconds) do
    with {:ok, key} <- key(secret) do
      timestamp = Integer.to_string(unix_seconds)
      signature = :crypto.mac(:hmac, :sha256, key, [id, ".", timestamp, ".", body])

      {:ok,
       [
         {"webhook-id", id},
         {"webhook-timestamp", timestamp},
         {"webhook-signature", "v1," <> Base.encode64(signature)}
       ]}
    end
  end

  # The specification asks for 24 to 64 bytes.
  defp key(@prefix <> encoded) do
    case Base.decode64(encoded, padding: false) do
      {:ok, key} when byte_size(key) in 24..64 -> {:ok, key}
      _other -> wrong_secret()
    end
  end

  defp key(_secret), do: wrong_secret()

  defp wrong_secret,
    do: {:error, "the secret is not #{@prefix} and 24 to 64 bytes in base64"}
end
