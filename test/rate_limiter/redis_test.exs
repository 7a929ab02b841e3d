defmodule RateLimiter.RedisTest do
  # The module's functions, and what its documentation promises. Each of its parts has tests of its own in `redis/`.
  use RateLimiter.Support.Redis.Case, async: true

  describe "put_credentials/2" do
    setup context do
      start(context)
      {:ok, put: &RateLimiter.Redis.put_credentials(&1, context.name)}
    end

    test "opens connections as the new user", %{name: name, server: server, put: put} do
      Redis.command!(server, ~w(ACL SETUSER limiter on >secret ~rate_limiter:* &* +@all))
      assert put.(username: "limiter", password: "secret") == :ok
      users = fn -> Redis.command!(server, ["CLIENT", "LIST"]) end
      Redis.eventually(fn -> users.() =~ "user=limiter" end)

      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.check_and_track(name, "u", :a))
      end)
    end

    test "takes a password in any form of the option, and reads it before it returns", %{put: put} do
      test = self()
      assert put.(password: fn -> send(test, :read) && "secret" end) == :ok
      assert_received :read
      variable = "RATE_LIMITER_REDIS_TEST"
      System.put_env(variable, "secret")
      on_exit(fn -> System.delete_env(variable) end)
      assert put.(password: {:system, variable}) == :ok
    end

    test "raises an error that shows no value", %{put: put} do
      for {options, message} <- [
            {[],
             "password: is required, expected a string, a zero-arity function, or {:system, name}"},
            {[password: :secret],
             "password: expected a string, a zero-arity function, or {:system, name} (value hidden)"},
            {[password: fn -> raise "secret" end], "password: the function raised RuntimeError"},
            {[password: "x", username: :secret], "username: expected a string (value hidden)"},
            {[password: "x", user: "secret"], ~r/^options: unknown option :user(?!.*secret)/},
            {"secret", "options: expected a keyword list with :password (value hidden)"},
            {%{password: "secret"},
             "options: expected a keyword list with :password (value hidden)"}
          ],
          do: assert_raise(ArgumentError, message, fn -> put.(options) end)
    end

    test "raises for an instance without Redis, and for none" do
      RateLimiter.Test.start(name: :of_a_test, limiters: [])
      put = &RateLimiter.Redis.put_credentials([password: "secret"], &1)

      assert_raise ArgumentError,
                   "the instance :of_a_test has no Redis, its store is :local",
                   fn -> put.(:of_a_test) end

      assert_raise ArgumentError, ~r/no instance/, fn -> put.({__MODULE__, :none}) end
    end
  end

  test "the documentation names every count of stats/1, and every option",
       %{name: name} = context do
    start(context)
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(RateLimiter.Redis)

    local =
      start_supervised!({RateLimiter, name: {name, :local}}) && RateLimiter.stats({name, :local})

    %{redis: %{servers: [server]} = redis} = stats = RateLimiter.stats(name)
    counts = Map.keys(stats) -- Map.keys(local)

    for key <- counts ++ Map.keys(redis) ++ Map.keys(server),
        do: assert(text =~ "`#{inspect(key)}`", inspect(key))

    assert text =~ RateLimiter.Redis.Config.docs()
  end
end
