defmodule RateLimiter.Redis.ClientTest do
  use RateLimiter.Support.Redis.Case, async: true

  alias RateLimiter.Redis.{Client, Config}

  @no_tls %{servers: nil, sentinels: nil}

  defp started(options) do
    {:ok, store, owner} =
      Client.start(make_ref(), Config.new!([timeout: 5_000] ++ options), @no_tls, {nil, nil})

    on_exit(fn -> Client.stop(owner) end)
    {store, owner}
  end

  defp connected(store) do
    Redis.eventually(fn ->
      match?(%{servers: [%{connections: n}]} when n > 0, Client.status(store))
    end)
  end

  test "a client connects in the background and reports its servers", %{server: server} do
    {store, _owner} = started(url: Redis.url(server))

    connected(store)

    assert %{problem: nil, servers: [%{breaker: :closed, server: name}]} = Client.status(store)
    assert name =~ Integer.to_string(server.port)
  end

  test "a client that has stopped has no status, and stopping again changes nothing", %{
    server: server
  } do
    {store, owner} = started(url: Redis.url(server))
    Client.stop(owner)
    Redis.eventually(fn -> Client.status(store) == nil end)
    Client.stop(owner)
    assert Client.status(store) == nil
  end

  test "a command replies to its caller", %{server: server} do
    {store, _owner} = started(url: Redis.url(server))

    connected(store)

    for {words, reply} <- [
          {["ECHO", "a b\r\n\0"], {:ok, "a b\r\n\0"}},
          {["SET", "k", "v"], {:ok, :ok}},
          {["GET", "none"], {:ok, nil}}
        ] do
      reference = make_ref()
      assert {:sent, wait_ms} = Client.command(store, reference, "k", words)
      assert wait_ms > 0
      assert_receive {^reference, answer}, 5_000
      assert shape(answer) == shape(reply)
    end
  end

  # Status replies are texts.
  defp shape({:ok, :ok}), do: {:ok, "OK"}
  defp shape(reply), do: reply

  test "a client without a server reports why", %{server: server} do
    Redis.kill(server)
    {store, _owner} = started(url: Redis.url(server))

    Redis.eventually(fn ->
      status = Client.status(store)
      Enum.any?([status.problem | Enum.map(status.servers, & &1.problem)], &is_binary/1)
    end)
  end

  test "every topology is taken", %{server: server} do
    for options <- [
          [cluster: ["127.0.0.1:#{server.port}"]],
          [sentinels: ["127.0.0.1:#{server.port}"], group: "main"],
          [url: "unix:/nowhere/redis.sock"]
        ] do
      {store, owner} = started(options)
      assert is_map(Client.status(store))
      Client.stop(owner)
    end
  end

  test "a server is healthy when its breaker is closed, it has a connection, and it answers" do
    healthy = %{breaker: :closed, connections: 1, failing: false}
    assert Client.healthy?(healthy)
    # A snapshot of a node of an earlier version does not say whether it answers.
    assert Client.healthy?(Map.delete(healthy, :failing))

    for change <- [
          %{breaker: :opened},
          %{breaker: :half_open},
          %{connections: 0},
          %{failing: true}
        ],
        do: refute(Client.healthy?(Map.merge(healthy, change)))

    # Calls go to a server that fails them, until its breaker opens.
    assert Client.up?(%{healthy | failing: true})
    refute Client.up?(%{healthy | breaker: :opened})
    refute Client.up?(%{healthy | connections: 0})
  end
end
