defmodule RateLimiter.Redis.ConfigTest do
  # Every wrong option of the store fails with its path, what was expected and what came, unless that is a secret.
  use ExUnit.Case, async: true

  alias RateLimiter.Config
  alias RateLimiter.Redis.Secret

  @files "\"host:port\" or {host, port}"
  @hidden "what came is not shown"

  defp redis(options) do
    assert %Config{store: {:redis, redis}} = Config.new!(store: {:redis, options})
    redis
  end

  defp says(message, options),
    do:
      assert_raise(ArgumentError, "store" <> message, fn ->
        Config.new!(store: {:redis, options})
      end)

  defp password(options), do: Secret.read(redis(options).password)

  describe "defaults" do
    test "are one server on this machine" do
      assert %{
               topology: {:server, {:tcp, "localhost", 6379}},
               database: 0,
               username: nil,
               password: nil,
               ssl: nil,
               prefix: "rate_limiter",
               timeout: 50,
               connections: 1,
               nodes: 1,
               cache_denials: true,
               max_queue: 16_384
             } = redis([])

      assert redis(%{}) == redis([])
    end
  end

  describe ":url" do
    test "says all of host, port, database, user, password and TLS" do
      redis = redis(url: "rediss://ann:p%40ss@db.example.org:7000/3")
      assert redis.topology == {:server, {:tcp, "db.example.org", 7000}}
      assert %{database: 3, username: "ann", ssl: %{verify: :verify_peer}} = redis
      assert Secret.read(redis.password) == {:ok, "p@ss"}
    end

    test "may say as little as a host, and a password without a user" do
      assert %{topology: {:server, {:tcp, "db", 6379}}, database: 0, ssl: nil, password: nil} =
               redis(url: "redis://db")

      assert redis(url: "redis://[::1]:7000/").topology == {:server, {:tcp, "::1", 7000}}
      assert %{username: nil} = redis(url: "redis://:secret@db")
      assert password(url: "redis://:secret@db") == {:ok, "secret"}
    end

    test "may be a socket" do
      assert %{topology: {:server, {:unix, "/run/redis.sock"}}, database: 0} =
               redis(url: "unix:/run/redis.sock")

      assert %{topology: {:server, {:unix, "/run/redis.sock"}}, database: 2} =
               redis(url: "unix:///run/redis.sock?db=2")
    end

    test "may come from a function or from the environment, once" do
      assert redis(url: fn -> "redis://db:7000" end).topology == {:server, {:tcp, "db", 7000}}

      says(".url: the environment variable RATE_LIMITER_NOT_SET is not set",
        url: {:system, "RATE_LIMITER_NOT_SET"}
      )

      says(".url: the function raised RuntimeError", url: fn -> raise "with secret" end)
      says(".url: the function returned no string", url: fn -> :no end)
    end

    test "goes after what is said beside it" do
      url = "redis://ann:old@db/3"
      assert %{database: 0, username: "bob"} = redis(url: url, database: 0, username: "bob")
      assert password(url: url, password: "new") == {:ok, "new"}
    end

    test "is not shown where it is none" do
      message =
        ".url: expected \"redis://host:port/database\", \"rediss://...\" or \"unix:/path\"; #{@hidden}, " <>
          "since it may hold a password"

      for url <- [
            "http://ann:secret@db",
            "redis://",
            "redis://db:0",
            "redis://db:99999",
            "redis://db/x",
            "redis://db/-1",
            "redis://db/1000001",
            "redis://db/99999999999999999999",
            "redis://ann%FF:secret@db",
            "redis://ann:secret%FF@db",
            "unix:/run/%FF.sock",
            "redis://db?db=1",
            "unix://db/sock",
            "unix:sock",
            "unix:/sock?x=1",
            "db:6379",
            "redis://d b",
            ""
          ],
          do: says(message, url: url)

      says(
        ".url: expected a string, a function without arguments, or {:system, name}; #{@hidden}",
        url: ~c"redis://ann:secret@db"
      )
    end
  end

  describe "a server" do
    test "is named by host and port" do
      assert redis(host: "db").topology == {:server, {:tcp, "db", 6379}}
      assert redis(port: 7000).topology == {:server, {:tcp, "localhost", 7000}}
      says(".host: expected a host's name or address, got: {127, 0, 0, 1}", host: {127, 0, 0, 1})
      says(".host: expected a host's name or address, got: \"a b\"", host: "a b")
      says(".host: expected a host's name or address, got: \"redis://db\"", host: "redis://db")

      says(
        ".host: expected a host's name or address; #{@hidden}, since it may hold a password",
        host: "redis://:secret@db"
      )

      says(".port: expected an integer from 1 to 65535, got: \"6379\"", port: "6379")
    end

    test "is named in one way" do
      one = ": expected one of :url, :host with :port, :sentinels and :cluster, got: "
      says(one <> ":url and :host", url: "redis://db", host: "db")
      says(one <> ":url and :port", url: "redis://db", port: 7000)
      says(one <> ":host and :cluster", host: "db", cluster: ["a:1"])
      says(one <> ":sentinels and :cluster", cluster: ["a:1"], sentinels: ["a:1"])
    end
  end

  describe ":sentinels and :cluster" do
    test "take nodes as people write them" do
      assert redis(sentinels: ["a", "b:7000", {"c", 7001}, [host: "d"], [port: 1, host: "e"]]).topology ==
               {:sentinel, "mymaster",
                [
                  {:tcp, "a", 26_379},
                  {:tcp, "b", 7000},
                  {:tcp, "c", 7001},
                  {:tcp, "d", 26_379},
                  {:tcp, "e", 1}
                ]}

      assert redis(sentinels: ["a"], group: "main").topology ==
               {:sentinel, "main", [{:tcp, "a", 26_379}]}

      assert redis(cluster: ["a", "redis://[::1]:7000"]).topology ==
               {:cluster, [{:tcp, "a", 6379}, {:tcp, "::1", 7000}]}
    end

    test "refuse what is no node" do
      for key <- [:sentinels, :cluster] do
        says(".#{key}: expected a non-empty list of nodes, each #{@files}, got: []", [{key, []}])

        says(".#{key}: expected a non-empty list of nodes, each #{@files}, got: \"a:1\"", [
          {key, "a:1"}
        ])

        for node <- [:a, {"a", 0}, {"a", "1"}, "", "a:b", "http://a", "redis://a/1", [port: 1]] do
          says(
            ".#{key}: expected #{@files}, without user and password, got: #{inspect(node)}",
            [{key, [node]}]
          )
        end
      end
    end

    test "show no password that was written where none belongs" do
      for key <- [:sentinels, :cluster] do
        url = "redis://ann:secret@db:7000"
        hidden = "#{@hidden}, since it may hold a password"

        says(".#{key}: expected a non-empty list of nodes, each #{@files}; #{hidden}", [
          {key, url}
        ])

        for node <- [url, {url, 1}, [host: "db", password: "secret"], %{password: "secret"}] do
          says(".#{key}: expected #{@files}, without user and password; #{hidden}", [
            {key, ["a", node]}
          ])
        end
      end
    end

    test "have what belongs to them alone" do
      for key <- [:group, :sentinel_username, :sentinel_password],
          do: says(".#{key}: is only for :sentinels", [{:host, "db"}, {key, "x"}])

      assert %{sentinel_username: "ann", sentinel_password: password} =
               redis(sentinels: ["a"], sentinel_username: "ann", sentinel_password: "secret")

      assert Secret.read(password) == {:ok, "secret"}

      says(".sentinel_password: the environment variable RATE_LIMITER_NOT_SET is not set",
        sentinels: ["a"],
        sentinel_password: {:system, "RATE_LIMITER_NOT_SET"}
      )

      says(".database: expected 0, which is all that a cluster has, got: 1",
        cluster: ["a:1"],
        database: 1
      )
    end
  end

  describe ":password" do
    test "is a string, a function or the name of a variable" do
      assert password(password: "secret") == {:ok, "secret"}
      assert password(password: fn -> "secret" end) == {:ok, "secret"}
      assert redis(password: {:system, "PATH"}).password == {:system, "PATH"}
    end

    test "is there, where it is a variable" do
      says(".password: the environment variable RATE_LIMITER_NOT_SET is not set",
        password: {:system, "RATE_LIMITER_NOT_SET"}
      )
    end

    test "may fail at first, where it is a function" do
      assert password(password: fn -> raise "not yet: secret" end) ==
               {:error, "the function raised RuntimeError"}

      assert password(password: fn -> throw("secret") end) ==
               {:error, "the function ended with throw"}

      assert password(password: fn -> <<255>> end) == {:error, "the function returned no string"}
    end

    test "is shown in no message" do
      for wrong <- [:secret, ~c"secret", {:env, "secret"}, {:system, ""}] do
        says(
          ".password: expected a string, a function without arguments, or {:system, name}; #{@hidden}",
          password: wrong
        )
      end

      says(".password: is required where :username is given", username: "ann")
    end

    test "is not shown by inspect" do
      refute inspect(redis(url: "redis://ann:secret@db"), limit: :infinity) =~ "secret"
      refute inspect(redis(sentinels: ["a"], sentinel_password: "secret")) =~ "secret"
      refute inspect(redis(password: "secret"), structs: false, limit: :infinity) =~ "secret"
    end
  end

  describe ":ssl" do
    @describetag :tmp_dir

    test "is true, or PEM files", %{tmp_dir: dir} do
      assert redis(ssl: true).ssl ==
               %{cacertfile: nil, certfile: nil, keyfile: nil, verify: :verify_peer}

      assert redis(ssl: false).ssl == nil
      assert redis(url: "rediss://db", ssl: false).ssl == nil
      pem = Path.join(dir, "a.pem")
      File.write!(pem, "-----BEGIN CERTIFICATE-----")
      assert %{cacertfile: ^pem, certfile: nil} = redis(ssl: [cacertfile: pem]).ssl
      assert %{certfile: ^pem, keyfile: ^pem} = redis(ssl: [certfile: pem, keyfile: pem]).ssl
      assert %{verify: :verify_none} = redis(ssl: [verify: :verify_none]).ssl
    end

    test "refuses other things", %{tmp_dir: dir} do
      pem = Path.join(dir, "a.pem")
      File.write!(pem, "-----BEGIN CERTIFICATE-----")
      says(".ssl: expected true, false or a keyword list, got: :yes", ssl: :yes)
      says(".ssl: unknown option :cacert, did you mean :cacertfile?", ssl: [cacert: pem])

      says(".ssl.cacertfile: expected the path of a PEM file, got: \"/none.pem\"",
        ssl: [cacertfile: "/none.pem"]
      )

      says(".ssl.verify: expected one of :verify_peer, :verify_none, got: false",
        ssl: [verify: false]
      )

      says(".ssl.keyfile: is required where :certfile is given", ssl: [certfile: pem])
      says(".ssl.certfile: is required where :keyfile is given", ssl: [keyfile: pem])
      says(".ssl: is not for a socket", url: "unix:/sock", ssl: true)
    end
  end

  describe "other options" do
    test "are refused with what was expected" do
      says(": unknown option :sentinel, did you mean :sentinels?", sentinel: 5)
      says(".database: expected an integer from 0 to 1000000, got: -1", database: -1)
      says(".username: expected a string, got: :ann", username: :ann)
      says(".timeout: expected an integer from 1 to 60000, got: 0", timeout: 0)
      says(".connections: expected an integer from 1 to 64, got: 65", connections: 65)
      says(".nodes: expected an integer from 1 to 100000, got: 0", nodes: 0)
      says(".cache_denials: expected true or false, got: :yes", cache_denials: :yes)

      says(".max_queue: expected an integer from 1 to 1000000, got: :infinity",
        max_queue: :infinity
      )

      for prefix <- ["", "a{b}", "}", String.duplicate("a", 65), :a] do
        says(
          ".prefix: expected a string of 1 to 64 bytes without braces, got: #{inspect(prefix)}",
          prefix: prefix
        )
      end
    end
  end

  describe "a store that is written in another way" do
    test "is not shown, since it may hold a password" do
      message =
        "store: expected :local or {:redis, options}; what came is not shown, since it may hold a password"

      for store <- [{:redis}, "redis://ann:secret@db", [redis: [password: "secret"]]] do
        assert_raise ArgumentError, message, fn -> Config.new!(store: store) end
      end

      assert_raise ArgumentError,
                   "store: expected :local or {:redis, options}, got: :redis",
                   fn ->
                     Config.new!(store: :redis)
                   end

      for options <- [:on, "redis://ann:secret@db", ["secret"], %{"password" => "secret"}] do
        says(
          ": expected {:redis, options} with a keyword list of options such as " <>
            "[url: \"redis://localhost:6379\"]; what came is not shown, since it may hold a password",
          options
        )
      end
    end

    test "as a child's start shows no password" do
      for options <- [[password: "secret"], [url: "redis://ann:secret@db"], %{password: "secret"}] do
        spec = RateLimiter.child_spec(name: :hidden, store: {:redis, options})
        assert spec.id == :hidden
        refute inspect(spec, limit: :infinity) =~ "secret"
        assert {_, _, [options]} = spec.start
        assert %Config{store: {:redis, redis}} = Config.new!(options)
        assert Secret.read(redis.password) == {:ok, "secret"}
      end
    end
  end
end
