defmodule RateLimiter.Store.ConfigTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Instance
  alias RateLimiter.Store.{Config, Mock}

  describe "new!/2" do
    test "takes its own options, and leaves the others to the store" do
      config = Config.new!(Mock, name: :table, nodes: 3, timeout: 20, colour: :red)
      assert %Config{module: Mock, nodes: 3, timeout: 20, workers: 4} = config
      assert config.options == [name: :table, colour: :red]
    end

    test "requires the number of nodes" do
      message = "store.nodes: is required, expected an integer from 1 to 100000"
      assert_raise ArgumentError, message, fn -> Config.new!(Mock, name: :table) end
    end

    test "reports an invalid option by its path, and hides what is no keyword list" do
      message = "store.timeout: expected an integer from 1 to 60000, got: 0"
      assert_raise ArgumentError, message, fn -> Config.new!(Mock, nodes: 1, timeout: 0) end

      message =
        "store: expected {RateLimiter.Store.Mock, options} with a keyword list (value hidden)"

      assert_raise ArgumentError, message, fn -> Config.new!(Mock, "secret") end
    end

    test "shows no secret" do
      config = Config.new!(Mock, nodes: 1, id_key: "0123456789abcdef", password: "hunter2")
      refute inspect(config) =~ ~r/hunter2|0123456789abcdef/
    end
  end

  test "hide/1 hides the key of ids in what a supervisor shows" do
    options = [store: {Mock, nodes: 1, id_key: "0123456789abcdef"}]
    refute inspect(Instance.Config.hide(options)) =~ "0123456789abcdef"
  end

  test "store?/1 is about the callbacks that every store has" do
    assert Config.store?(Mock)
    refute Config.store?(Enum)
    refute Config.store?(NoSuchModule)
    refute Config.store?("Mock")
  end

  test "docs/0 lists every option" do
    for option <- [:prefix, :id_key, :timeout, :workers, :nodes, :cache_denials, :max_queue],
        do: assert(Config.docs() =~ "* `#{inspect(option)}` - ")
  end

  test "a module that is no store is refused when the instance starts" do
    message =
      "store: expected :local, {:redis, options}, or {module, options} with a module that implements RateLimiter.Store"

    assert_raise ArgumentError, message <> " (value hidden)", fn ->
      RateLimiter.start_link(store: {Enum, nodes: 1})
    end
  end
end
