defmodule RateLimiter.ConfigTest do
  # Not async, because all tests share the environment.
  use ExUnit.Case, async: false

  import RateLimiter.Support.Environment

  alias RateLimiter.{Config, Instance}
  alias RateLimiter.Core.Secret

  @names ~w(REDIS_ENABLED REDIS_URL REDIS_HOST REDIS_PORT REDIS_PASSWORD)

  setup do: without(@names)

  doctest RateLimiter.Config

  defp from(variables) do
    for name <- @names, do: System.delete_env(name)
    System.put_env(variables)
    Config.from_env()
  end

  defp store(variables), do: Instance.Config.new!(from(variables)).store

  describe "from_env/0" do
    test "returns store: :local without REDIS_ENABLED, REDIS_URL and REDIS_HOST" do
      assert from(%{}) == [store: :local]
      assert from(%{"REDIS_PASSWORD" => "p", "REDIS_PORT" => "7000"}) == [store: :local]
    end

    test "returns a Redis store for REDIS_URL or REDIS_HOST" do
      assert {:redis, redis} = store(%{"REDIS_URL" => "redis://db:7000/2"})
      assert %{topology: {:server, {:tcp, "db", 7000}}, database: 2} = redis
      assert {:redis, redis} = store(%{"REDIS_HOST" => "db", "REDIS_PORT" => "7001"})
      assert redis.topology == {:server, {:tcp, "db", 7001}}
    end

    test "REDIS_ENABLED takes precedence over REDIS_URL" do
      for yes <- ["true", "1"] do
        assert {:redis, redis} = store(%{"REDIS_ENABLED" => yes})
        assert redis.topology == {:server, {:tcp, "localhost", 6379}}
      end

      for no <- ["false", "0"],
          do: assert(store(%{"REDIS_ENABLED" => no, "REDIS_URL" => "redis://db"}) == :local)
    end

    test "REDIS_URL takes precedence over REDIS_HOST" do
      assert {:redis, redis} = store(%{"REDIS_URL" => "redis://db", "REDIS_HOST" => "other"})
      assert redis.topology == {:server, {:tcp, "db", 6379}}
    end

    test "an empty variable counts as not set" do
      assert from(Map.new(@names, &{&1, ""})) == [store: :local]
      assert {:redis, %{password: nil}} = store(%{"REDIS_HOST" => "db", "REDIS_PASSWORD" => ""})
    end

    test "returns the name of the password's variable, which takes precedence over the URL" do
      variables = %{"REDIS_URL" => "redis://ann:old@db", "REDIS_PASSWORD" => "new"}
      refute inspect(from(variables), limit: :infinity) =~ ~r/old|new/
      assert {:redis, redis} = store(variables)
      assert Secret.read(redis.password) == {:ok, "new"}
      System.put_env("REDIS_PASSWORD", "newer")
      assert Secret.read(redis.password) == {:ok, "newer"}
      System.delete_env("REDIS_PASSWORD")

      assert Secret.read(redis.password) ==
               {:error, "the environment variable REDIS_PASSWORD is not set"}
    end

    test "raises an error with the name of an invalid variable" do
      assert_raise ArgumentError, "REDIS_ENABLED: expected true or false, got: \"yes\"", fn ->
        from(%{"REDIS_ENABLED" => "yes"})
      end

      for port <- ["0", "65536", "x", "7000x"] do
        assert_raise ArgumentError,
                     "REDIS_PORT: expected a port from 1 to 65535, got: #{inspect(port)}",
                     fn ->
                       from(%{"REDIS_HOST" => "db", "REDIS_PORT" => port})
                     end
      end
    end
  end
end
