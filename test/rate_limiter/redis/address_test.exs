defmodule RateLimiter.Redis.AddressTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Redis.Address

  test "every part of a URL is read as it was written" do
    :rand.seed(:exsss, 11)

    for _ <- 1..300 do
      {ssl, host, port, database} =
        {flag(), Enum.random(["a", "redis.example.com", "10.0.0.1"]), :rand.uniform(65_535),
         Enum.random([nil, 0, 15, 1_000_000])}

      {username, password} = Enum.random([{nil, nil}, {nil, text()}, {text(), text()}])

      url =
        "#{if ssl, do: "rediss", else: "redis"}://#{userinfo(username, password)}#{host}:#{port}" <>
          if(database, do: "/#{database}", else: "")

      assert Address.url(url) ==
               {:ok,
                %{
                  address: {:tcp, host, port},
                  ssl: ssl,
                  username: username,
                  password: password,
                  database: database
                }}
    end
  end

  test "a URL without a port means 6379, and a path of / no database" do
    for url <- ["redis://a", "redis://a/"] do
      assert {:ok, %{address: {:tcp, "a", 6379}, database: nil}} = Address.url(url)
    end

    assert {:ok, %{address: {:tcp, "::1", 6379}}} = Address.url("redis://[::1]")
  end

  test "a socket has a path and perhaps a database" do
    assert {:ok, %{address: {:unix, "/tmp/a b"}, database: nil, ssl: false}} =
             Address.url("unix:/tmp/a%20b")

    assert {:ok, %{address: {:unix, "/r.sock"}, database: 3}} = Address.url("unix:///r.sock?db=3")
  end

  test "other strings are no URL" do
    for url <- [
          "",
          "a:6379",
          "http://a",
          "redis://",
          "redis://:secret@",
          "redis://a:0",
          "redis://a:65536",
          "redis://a/x",
          "redis://a/-1",
          "redis://a/1000001",
          "redis://a/1/2",
          "redis://a?db=1",
          "redis://%FF@a",
          "redis://:%FF@a",
          "unix:",
          "unix:relative",
          "unix://host/a",
          "unix:/a%FF",
          "unix:/a?db=x",
          "unix:/a?other=1"
        ],
        do: assert({url, Address.url(url)} == {url, :error})
  end

  test "a # is refused, since what follows it would be dropped" do
    # The first is a password that is not percent-encoded: it reads as the host "user".
    for url <- ["redis://user:123#x@a", "redis://a#b", "redis://a/1#b", "unix:/a#b"],
        do: assert({url, Address.url(url)} == {url, :error})

    assert_raise ArgumentError, fn -> Address.nodes!(["a:1#b"], [:cluster]) end
  end

  test "a node is written in any of four ways" do
    nodes = ["a:7000", "redis://a:7000", {"a", 7000}, [host: "a", port: 7000]]
    assert Address.nodes!(nodes, [:cluster]) == List.duplicate({:tcp, "a", 7000}, 4)
  end

  test "a node without a port has that of its kind" do
    for {kind, port} <- [cluster: 6379, sentinels: 26_379],
        node <- ["a", "redis://a", [host: "a"]],
        do: assert(Address.nodes!([node], [:redis, kind]) == [{:tcp, "a", port}])
  end

  test "a bad node is named by its option, and never shows a password" do
    for bad <- [
          [],
          nil,
          "a",
          [nil],
          [""],
          ["a:0"],
          [{"a", 0}],
          [{"a b", 1}],
          [[host: "a", ports: 1]],
          ["redis://:hunter2@a"],
          ["redis://u:hunter2@a:1"],
          [{"u:hunter2@a", 1}],
          [[host: "a", password: "hunter2"]],
          [{"a", 1} | {"b", 2}]
        ] do
      error = assert_raise ArgumentError, fn -> Address.nodes!(bad, [:redis, :cluster]) end
      assert error.message =~ "cluster"
      refute error.message =~ "hunter2"
    end
  end

  test "a host has no space, no slash, no NUL and no user" do
    for host <- ["a", "10.0.0.1", "::1", "redis.example.com"],
        do: assert(Address.host!(host, [:redis, :host]) == host)

    for bad <- ["", "a b", "a/b", "a\0", "a\n", "u:hunter2@a", <<255>>, :a, nil] do
      error = assert_raise ArgumentError, fn -> Address.host!(bad, [:redis, :host]) end
      refute error.message =~ "hunter2"
    end
  end

  defp flag, do: :rand.uniform(2) == 1
  defp text, do: for(_ <- 1..:rand.uniform(8), into: "", do: Enum.random(~w(a Z 9 : @ / # % ? ü)))
  defp userinfo(nil, nil), do: ""
  defp userinfo(username, password), do: "#{encode(username || "")}:#{encode(password)}@"
  defp encode(text), do: URI.encode(text, &URI.char_unreserved?/1)
end
