defmodule RateLimiter.WebhookTest do
  # Not async: a webhook hears the events of the whole node.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog
  import RateLimiter.Support.Eventually

  alias RateLimiter.Support.Receiver
  alias RateLimiter.Webhook
  alias RateLimiter.Webhook.Message

  @secret "whsec_" <> Base.encode64(String.duplicate("k", 32))
  @escalation [:rate_limiter, :algedonic, :escalation]

  defp start!(options \\ []) do
    port = options[:port] || Receiver.start!()
    options = Keyword.drop(options, [:port])

    start_supervised!(
      {Webhook, Keyword.merge([url: "http://127.0.0.1:#{port}/limits", secret: @secret], options)}
    )

    port
  end

  defp escalate(n),
    do: :telemetry.execute(@escalation, %{level: 1.0}, %{instance: __MODULE__, sentence: "#{n}"})

  defp request do
    assert_receive {:request, connection, {:POST, "/limits", headers, body}}, 30_000
    {connection, headers, body}
  end

  defp answer(connection, status, fields \\ []), do: send(connection, {:answer, status, fields})

  defp sentence(body), do: body |> then(&Regex.run(~r/"sentence": "(\d+)"/, &1)) |> List.last()

  # As a receiver verifies it.
  defp verified?(headers, body) do
    %{"webhook-id" => id, "webhook-timestamp" => timestamp} = headers
    assert_in_delta String.to_integer(timestamp), System.os_time(:second), 60
    key = Base.decode64!(String.replace_prefix(@secret, "whsec_", ""))
    mac = :crypto.mac(:hmac, :sha256, key, "#{id}.#{timestamp}.#{body}")
    headers["webhook-signature"] == "v1," <> Base.encode64(mac)
  end

  test "an event is posted as signed JSON" do
    start!()
    escalate(1)
    {connection, headers, body} = request()
    assert headers["content-type"] == "application/json"
    assert verified?(headers, body)
    assert body =~ ~s("type": "pain.escalated")
    assert body =~ ~s("instance": "Elixir.RateLimiter.WebhookTest")
    answer(connection, 204)
    eventually(fn -> Webhook.stats() == %{waiting: 0, delivered: 1, dropped: 0, failure: nil} end)
  end

  test "a limit that is changed is told, with the numbers before and after" do
    start!(only: ["limit.changed"])
    escalate(1)
    windows = [w: [limit: 5, per: :second]]
    start_supervised!({RateLimiter, name: :told, limiters: [told: [windows: windows]]})
    :ok = RateLimiter.update_limit(:told, :w, limit: 7, burst: 9)
    {connection, _headers, body} = request()

    assert body =~
             ~r/"from": {\s+"burst": null,\s+"enforce": true,\s+"limit": 5,\s+"per_ms": 1000\s+}/

    assert body =~ ~r/"to": {\s+"burst": 9,\s+"enforce": true,\s+"limit": 7,\s+"per_ms": 1000\s+}/
    answer(connection, 200)
  end

  test "messages are sent in order, one at a time" do
    start!()
    for n <- 1..20, do: escalate(n)

    for n <- 1..20 do
      {connection, _headers, body} = request()
      assert sentence(body) == "#{n}"
      refute_received {:request, _, _}
      answer(connection, 200)
    end
  end

  @tag :slow
  test "a failure is tried again with the same id and body, and logged once" do
    log =
      capture_log(fn ->
        start!()
        for n <- 1..2, do: escalate(n)
        {first, headers, body} = request()
        answer(first, 500)
        eventually(fn -> Webhook.stats().failure == "the answer has the status 500" end)
        {second, headers_again, ^body} = request()
        assert headers_again["webhook-id"] == headers["webhook-id"]
        assert verified?(headers_again, body)
        send(second, :close)
        {third, _headers, ^body} = request()
        answer(third, 200)
        {fourth, _headers, body} = request()
        assert sentence(body) == "2"
        answer(fourth, 200)
        eventually(fn -> match?(%{delivered: 2, failure: nil}, Webhook.stats()) end)
      end)

    assert [_, _] = Regex.scan(~r/RateLimiter webhook/, log)
    assert log =~ "cannot deliver, and tries again: the answer has the status 500"
    assert log =~ "delivers again"
  end

  @tag :slow
  test "an answer may ask for a longer pause" do
    capture_log(fn ->
      start!()
      escalate(1)
      {connection, _headers, _body} = request()
      answer(connection, 429, [{"retry-after", "3600"}])
      eventually(fn -> Webhook.stats().failure != nil end)
      refute_receive {:request, _, _}, 1_500
    end)
  end

  test "of more messages than may wait, the oldest that is not on its way is dropped and counted" do
    start!(max_queue: 3)
    for n <- 1..10, do: escalate(n)
    {connection, _headers, body} = request()
    assert sentence(body) == "1"
    eventually(fn -> match?(%{waiting: 3, dropped: 7}, Webhook.stats()) end)
    answer(connection, 200)

    for n <- [9, 10] do
      {connection, _headers, body} = request()
      assert sentence(body) == "#{n}"
      answer(connection, 200)
    end

    eventually(fn -> match?(%{waiting: 0, delivered: 3, dropped: 7}, Webhook.stats()) end)
  end

  test "nobody listens: messages wait, and arrive when somebody does" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)

    log =
      capture_log(fn ->
        start!(port: port)
        escalate(1)
        eventually(fn -> to_string(Webhook.stats().failure) =~ "econnrefused" end)
        assert Receiver.start!(port: port) == port
        {connection, _headers, body} = request()
        assert sentence(body) == "1"
        answer(connection, 200)
        eventually(fn -> Webhook.stats().failure == nil end)
      end)

    assert log =~ "econnrefused"
  end

  @tag :slow
  test "a secret that cannot be read is a failure, and is read again" do
    name = "RATE_LIMITER_WEBHOOK_TEST"
    on_exit(fn -> System.delete_env(name) end)

    capture_log(fn ->
      start!(secret: {:system, name}, name: :with_secret)
      escalate(1)

      eventually(fn ->
        Webhook.stats(:with_secret).failure == "the environment variable #{name} is not set"
      end)

      System.put_env(name, "hunter2")

      eventually(fn ->
        to_string(Webhook.stats(:with_secret).failure) =~ "whsec_ and 24 to 64 bytes"
      end)

      System.put_env(name, @secret)
      {connection, headers, body} = request()
      assert verified?(headers, body)
      answer(connection, 200)
    end)
  end

  test "no secret is shown by a state, a child specification or a message about options" do
    pid = start!() && Process.whereis(Webhook)
    refute inspect(:sys.get_state(pid)) =~ @secret
    refute inspect(Webhook.child_spec(url: "http://a", secret: @secret)) =~ @secret

    error = catch_error(Webhook.start_link(url: "http://a", secret: {:secret, @secret}))
    assert Exception.message(error) =~ "secret: expected a string"
    refute Exception.message(error) =~ @secret
  end

  test "a webhook that has stopped hears nothing" do
    start!()
    assert [_ | _] = :telemetry.list_handlers(@escalation)
    :ok = stop_supervised(Webhook)
    refute Enum.any?(:telemetry.list_handlers(@escalation), &match?({Webhook, _}, &1.id))
  end

  test "a webhook that is killed is told again after its restart" do
    start!()
    before = Process.whereis(Webhook)
    Process.exit(before, :kill)
    eventually(fn -> Process.whereis(Webhook) not in [nil, before] end)
    # The handler of the killed process is replaced before the new one has its name.
    escalate(1)
    {connection, _headers, _body} = request()
    answer(connection, 200)
    refute_received {:request, _, _}
  end

  test "every kind of message belongs to an event that is documented" do
    {:docs_v1, _, _, _, %{"en" => documentation}, _, _} = Code.fetch_docs(RateLimiter.Telemetry)
    {:docs_v1, _, _, _, %{"en" => kinds}, _, _} = Code.fetch_docs(Webhook)

    for {kind, event} <- Message.kinds() do
      assert kinds =~ "`#{kind}`"

      documented =
        with [:rate_limiter, :fallback, _change] <- event, do: [:rate_limiter, :fallback]

      assert documentation =~ documented |> inspect() |> String.trim_trailing("]")
    end
  end

  test "invalid options raise and say what is expected" do
    valid = [url: "http://127.0.0.1:1", secret: @secret]

    for {options, message} <- [
          {[secret: @secret], ~r/^url: is required/},
          {[url: "http://a"], ~r/^secret: is required/},
          {[url: "ftp://a", secret: @secret], ~r/^url: expected a URL/},
          {[url: "http://", secret: @secret], ~r/^url: expected a URL/},
          {[url: :a, secret: @secret], ~r/^url: expected a URL/},
          {valid ++ [only: []], ~r/^only: expected a non-empty list of "limit.changed"/},
          {valid ++ [only: ["outage"]], ~r/^only: expected/},
          {valid ++ [max_queue: 0], ~r/^max_queue: expected/},
          {valid ++ [retries: 3], ~r/unknown option :retries/}
        ] do
      assert_raise ArgumentError, message, fn -> Webhook.start_link(options) end
    end
  end
end
