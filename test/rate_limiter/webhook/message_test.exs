defmodule RateLimiter.Webhook.MessageTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Webhook.Message

  doctest Message

  @secret "whsec_" <> Base.encode64(String.duplicate("k", 32))

  defp message(metadata),
    do:
      Message.new([:rate_limiter, :limit, :changed], %{count: 1}, metadata, 1_790_000_000_123_456)

  test "the body is JSON with the type, the time and the fields of the event in order" do
    message = message(%{window: :burst, limiter: :api, share: 0.8, quota: nil, hidden: false})

    assert message.kind == "limit.changed"

    assert message.body == """
           {
             "type": "limit.changed",
             "timestamp": "2026-09-21T14:13:20.123456Z",
             "data": {
               "count": 1,
               "hidden": false,
               "limiter": "api",
               "node": "#{node()}",
               "quota": null,
               "share": 0.8,
               "window": "burst"
             }
           }\
           """
  end

  test "terms that JSON does not have are shown as Elixir shows them, and nested maps are objects" do
    {:ok, text} =
      {:ok, message(%{instance: {:tenant, 7}, raw: <<255, 0>>, to: %{limit: 5, burst: nil}}).body}

    assert text =~ ~S("instance": "{:tenant, 7}")
    assert text =~ ~S("raw": "<<255, 0>>")
    assert text =~ ~r/"to": {\s+"burst": null,\s+"limit": 5\s+}/
  end

  test "each message has an id of its own, which its signature covers with the time and the body" do
    [one, other] = for _ <- 1..2, do: message(%{limiter: :api})
    assert one.id != other.id

    signatures =
      for {message, time} <- [{one, 1}, {other, 1}, {one, 2}, {%{one | body: "{}"}, 1}] do
        {:ok, headers} = Message.headers(message, @secret, time)
        {"webhook-signature", "v1," <> signature} = List.keyfind(headers, "webhook-signature", 0)
        signature
      end

    assert Enum.uniq(signatures) == signatures
  end

  test "a secret in another form is an error that does not show it" do
    short = "whsec_" <> Base.encode64(String.duplicate("k", 23))
    long = "whsec_" <> Base.encode64(String.duplicate("k", 65))

    for secret <- ["", "hunter2", "whsec_", "whsec_***", short, long] do
      assert {:error, reason} = Message.headers(message(%{}), secret, 1)
      assert reason == "the secret is not whsec_ and 24 to 64 bytes in base64"
    end
  end
end
