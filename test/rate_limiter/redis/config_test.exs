defmodule RateLimiter.Redis.ConfigTest do
  # The messages are part of the contract: each has the path of the option, what was expected, and the value, unless
  # that may contain a password.
  use ExUnit.Case, async: true

  alias RateLimiter.Instance.Config
  alias RateLimiter.Core.Secret

  @files "\"host:port\" or {host, port}"
  @hidden " (value hidden)"

  defp redis(options) do
    assert %Config{store: {:redis, redis}} = Config.new!(store: {:redis, options})
    redis
  end

  defp rejects(message, options),
    do:
      assert_raise(ArgumentError, "store" <> message, fn ->
        Config.new!(store: {:redis, options})
      end)

  defp password(options), do: Secret.read(redis(options).password)

  describe "new!/1 without options" do
    test "returns one server on localhost" do
      assert %{
               topology: {:server, {:tcp, "localhost", 6379}},
               database: 0,
               username: nil,
               password: nil,
               ssl: nil,
               prefix: "rate_limiter",
               timeout: 50,
               connections: 1,
               nodes: nil,
               cache_denials: true,
               max_queue: 16_384
             } = redis([])

      assert redis(%{}) == redis([])
    end
  end

  describe "new!/1 with :url" do
    test "takes host, port, database, user, password and TLS from the URL" do
      redis = redis(url: "rediss://ann:p%40ss@db.example.org:7000/3")
      assert redis.topology == {:server, {:tcp, "db.example.org", 7000}}
      assert %{database: 3, username: "ann", ssl: %{verify: :verify_peer}} = redis
      assert Secret.read(redis.password) == {:ok, "p@ss"}
    end

    test "accepts a URL with a host only, and a password without a user" do
      assert %{topology: {:server, {:tcp, "db", 6379}}, database: 0, ssl: nil, password: nil} =
               redis(url: "redis://db")

      assert redis(url: "redis://[::1]:7000/").topology == {:server, {:tcp, "::1", 7000}}
      assert %{username: nil} = redis(url: "redis://:secret@db")
      assert password(url: "redis://:secret@db") == {:ok, "secret"}
    end

    test "accepts a Unix socket" do
      assert %{topology: {:server, {:unix, "/run/redis.sock"}}, database: 0} =
               redis(url: "unix:/run/redis.sock")

      assert %{topology: {:server, {:unix, "/run/redis.sock"}}, database: 2} =
               redis(url: "unix:///run/redis.sock?db=2")
    end

    test "reads a function or an environment variable once" do
      assert redis(url: fn -> "redis://db:7000" end).topology == {:server, {:tcp, "db", 7000}}

      rejects(".url: the environment variable RATE_LIMITER_NOT_SET is not set",
        url: {:system, "RATE_LIMITER_NOT_SET"}
      )

      rejects(".url: the function raised RuntimeError", url: fn -> raise "with secret" end)
      rejects(".url: the function did not return a string", url: fn -> :no end)
    end

    test "prefers the other options to parts of the URL" do
      url = "redis://ann:old@db/3"
      assert %{database: 0, username: "bob"} = redis(url: url, database: 0, username: "bob")
      assert password(url: url, password: "new") == {:ok, "new"}
    end

    test "rejects an invalid URL without showing it" do
      message =
        ".url: expected \"redis://host:port/database\", \"rediss://...\" or \"unix:/path\"#{@hidden}"

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
          do: rejects(message, url: url)

      rejects(
        ".url: expected a string, a zero-arity function, or {:system, name}#{@hidden}",
        url: ~c"redis://ann:secret@db"
      )
    end
  end

  describe "new!/1 with :host and :port" do
    test "returns the server, with a default for either" do
      assert redis(host: "db").topology == {:server, {:tcp, "db", 6379}}
      assert redis(port: 7000).topology == {:server, {:tcp, "localhost", 7000}}
      rejects(".host: expected a host name or address, got: {127, 0, 0, 1}", host: {127, 0, 0, 1})
      rejects(".host: expected a host name or address, got: \"a b\"", host: "a b")
      rejects(".host: expected a host name or address, got: \"redis://db\"", host: "redis://db")

      rejects(
        ".host: expected a host name or address#{@hidden}",
        host: "redis://:secret@db"
      )

      rejects(".port: expected an integer from 1 to 65535, got: \"6379\"", port: "6379")
    end

    test "rejects a second way to name the server" do
      one = ": expected one of :url, :host with :port, :sentinels and :cluster, got: "
      rejects(one <> ":url and :host", url: "redis://db", host: "db")
      rejects(one <> ":url and :port", url: "redis://db", port: 7000)
      rejects(one <> ":host and :cluster", host: "db", cluster: ["a:1"])
      rejects(one <> ":sentinels and :cluster", cluster: ["a:1"], sentinels: ["a:1"])
    end
  end

  describe "new!/1 with :sentinels or :cluster" do
    test "accepts every notation of a node" do
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

    test "rejects an invalid node" do
      for key <- [:sentinels, :cluster] do
        rejects(".#{key}: expected a non-empty list of nodes, each #{@files}, got: []", [
          {key, []}
        ])

        rejects(".#{key}: expected a non-empty list of nodes, each #{@files}, got: \"a:1\"", [
          {key, "a:1"}
        ])

        for node <- [:a, {"a", 0}, {"a", "1"}, "", "a:b", "http://a", "redis://a/1", [port: 1]] do
          rejects(
            ".#{key}: expected #{@files}, without user and password, got: #{inspect(node)}",
            [{key, [node]}]
          )
        end
      end
    end

    test "does not show a password that is part of an invalid node" do
      for key <- [:sentinels, :cluster] do
        url = "redis://ann:secret@db:7000"

        rejects(".#{key}: expected a non-empty list of nodes, each #{@files}#{@hidden}", [
          {key, url}
        ])

        for node <- [url, {url, 1}, [host: "db", password: "secret"], %{password: "secret"}] do
          rejects(".#{key}: expected #{@files}, without user and password#{@hidden}", [
            {key, ["a", node]}
          ])
        end
      end
    end

    test "accepts the options of Sentinels and the database only where they apply" do
      for key <- [:group, :sentinel_username, :sentinel_password],
          do: rejects(".#{key}: applies to :sentinels only", [{:host, "db"}, {key, "x"}])

      assert %{sentinel_username: "ann", sentinel_password: password} =
               redis(sentinels: ["a"], sentinel_username: "ann", sentinel_password: "secret")

      assert Secret.read(password) == {:ok, "secret"}

      rejects(".sentinel_password: the environment variable RATE_LIMITER_NOT_SET is not set",
        sentinels: ["a"],
        sentinel_password: {:system, "RATE_LIMITER_NOT_SET"}
      )

      rejects(".database: expected 0, the only database of a cluster, got: 1",
        cluster: ["a:1"],
        database: 1
      )
    end
  end

  describe "new!/1 with :id_key" do
    test "reads a key of at least 16 bytes once" do
      assert Secret.read(redis(id_key: "0123456789abcdef").id_key) == {:ok, "0123456789abcdef"}
      assert redis([]).id_key == nil
      rejects(".id_key: expected at least 16 bytes#{@hidden}", id_key: fn -> "hunter2" end)

      rejects(".id_key: the environment variable RATE_LIMITER_NOT_SET is not set",
        id_key: {:system, "RATE_LIMITER_NOT_SET"}
      )
    end
  end

  describe "new!/1 with :password" do
    test "accepts a string, a function or the name of a variable" do
      assert password(password: "secret") == {:ok, "secret"}
      assert password(password: fn -> "secret" end) == {:ok, "secret"}
      assert redis(password: {:system, "PATH"}).password == {:system, "PATH"}
    end

    test "rejects a variable that is not set" do
      rejects(".password: the environment variable RATE_LIMITER_NOT_SET is not set",
        password: {:system, "RATE_LIMITER_NOT_SET"}
      )
    end

    test "accepts a function that fails, because it may succeed later" do
      assert password(password: fn -> raise "not yet: secret" end) ==
               {:error, "the function raised RuntimeError"}

      assert password(password: fn -> throw("secret") end) ==
               {:error, "the function failed with throw"}

      assert password(password: fn -> <<255>> end) ==
               {:error, "the function did not return a string"}
    end

    test "does not show an invalid password" do
      for wrong <- [:secret, ~c"secret", {:env, "secret"}, {:system, ""}] do
        rejects(
          ".password: expected a string, a zero-arity function, or {:system, name}#{@hidden}",
          password: wrong
        )
      end

      rejects(".password: is required with :username", username: "ann")
    end

    test "does not show a password that was passed for another option" do
      keys = [:url, :username, :database, :group, :sentinel_username, :sentinel_password, :id_key]
      text = "hunter2"

      for key <- keys,
          wrong <- [{:env, text}, String.to_charlist(text), %{password: text}, [text]] do
        error = assert_raise ArgumentError, fn -> Config.new!(store: {:redis, [{key, wrong}]}) end

        assert error.message =~ "store.#{key}: expected "
        refute error.message =~ text
      end

      for key <- [:username, :password], wrong <- [{:env, text}, [text], 7] do
        options = Keyword.put([username: "ann", password: text], key, wrong)
        error = assert_raise ArgumentError, fn -> RateLimiter.Redis.put_credentials(options) end
        refute error.message =~ text
      end

      error = assert_raise ArgumentError, fn -> Config.new!(store: {:redis, database: text}) end
      refute error.message =~ text
    end

    test "returns a configuration whose inspection shows no password" do
      refute inspect(redis(url: "redis://ann:secret@db"), limit: :infinity) =~ "secret"
      refute inspect(redis(sentinels: ["a"], sentinel_password: "secret")) =~ "secret"
      refute inspect(redis(id_key: "secret of 16 bytes")) =~ "secret"
      refute inspect(redis(password: "secret"), structs: false, limit: :infinity) =~ "secret"
    end
  end

  describe "new!/1 with :ssl" do
    @describetag :tmp_dir

    test "accepts a boolean and PEM files", %{tmp_dir: dir} do
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

    test "rejects other values, missing files and half a pair", %{tmp_dir: dir} do
      pem = Path.join(dir, "a.pem")
      File.write!(pem, "-----BEGIN CERTIFICATE-----")
      rejects(".ssl: expected true, false or a keyword list, got: :yes", ssl: :yes)
      rejects(".ssl: unknown option :cacert, did you mean :cacertfile?", ssl: [cacert: pem])

      rejects(".ssl.cacertfile: expected the path of a PEM file, got: \"/none.pem\"",
        ssl: [cacertfile: "/none.pem"]
      )

      rejects(".ssl.verify: expected one of :verify_peer, :verify_none, got: false",
        ssl: [verify: false]
      )

      rejects(".ssl.keyfile: is required with :certfile", ssl: [certfile: pem])
      rejects(".ssl.certfile: is required with :keyfile", ssl: [keyfile: pem])
      rejects(".ssl: is not supported for a Unix socket", url: "unix:/sock", ssl: true)
    end
  end

  describe "new!/1 with other options" do
    test "rejects an invalid value with what it expects" do
      rejects(": unknown option :sentinel, did you mean :sentinels?", sentinel: 5)
      rejects(".database: expected an integer from 0 to 1000000 (value hidden)", database: -1)
      rejects(".username: expected a string (value hidden)", username: :ann)
      rejects(".timeout: expected an integer from 1 to 60000, got: 0", timeout: 0)
      rejects(".connections: expected an integer from 1 to 64, got: 65", connections: 65)
      rejects(".nodes: expected an integer from 1 to 100000, got: 0", nodes: 0)
      rejects(".cache_denials: expected true or false, got: :yes", cache_denials: :yes)

      rejects(".max_queue: expected an integer from 1 to 1000000, got: :infinity",
        max_queue: :infinity
      )

      for prefix <- ["", "a{b}", "}", "my app", "é", "a*", "a\n", String.duplicate("a", 65), :a] do
        rejects(
          ".prefix: expected 1 to 64 letters, digits or characters of . : / _ @ + -, got: #{inspect(prefix)}",
          prefix: prefix
        )
      end
    end
  end

  describe "new!/1 with an invalid store" do
    test "does not show it, because it may contain a password" do
      message =
        "store: expected :local, {:redis, options}, or {module, options} with a module that implements " <>
          "RateLimiter.Store#{@hidden}"

      for store <- [{:redis}, "redis://ann:secret@db", [redis: [password: "secret"]]] do
        assert_raise ArgumentError, message, fn -> Config.new!(store: store) end
      end

      assert_raise ArgumentError, ~r/^store: expected :local, .*, got: :redis$/, fn ->
        Config.new!(store: :redis)
      end

      for options <- [:on, "redis://ann:secret@db", ["secret"], %{"password" => "secret"}] do
        rejects(
          ": expected {:redis, options} with options such as [url: \"redis://localhost:6379\"]#{@hidden}",
          options
        )
      end
    end

    test "child_spec/1 shows no password" do
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
