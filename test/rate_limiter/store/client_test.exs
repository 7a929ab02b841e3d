defmodule RateLimiter.Store.ClientTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Store.{Client, Config, Mock}

  defmodule Broken do
    @behaviour RateLimiter.Store

    @impl true
    def init(options), do: options[:answer]

    @impl true
    def update(_state, _key, _change), do: {:error, :unused}
  end

  defp start(answer), do: Client.start(:test, Config.new!(Broken, nodes: 1, answer: answer))

  describe "start/2" do
    test "reports why the store cannot be opened" do
      name = inspect(Broken)
      assert start({:error, "no table"}) == {:error, "#{name} could not be opened: no table"}
      assert {:error, reason} = start(:nonsense)
      assert reason =~ "expected #{name}.init/1 to return {:ok, state}"
    end

    test "an instance whose store cannot be opened does not start, and says why" do
      Process.flag(:trap_exit, true)

      assert {:error, {%ArgumentError{message: message}, _stack}} =
               RateLimiter.start_link(
                 name: __MODULE__,
                 store: {Broken, nodes: 1, answer: {:error, "no table"}}
               )

      assert message =~ "store: "
      assert message =~ "no table"
    end
  end

  test "a store has a status until it stops, and is closed then" do
    config = Config.new!(Mock, nodes: 3, name: :"mock of the client")
    {:ok, store, owner, state} = Client.start(:test, config)
    assert %{breaker: :closed, workers: 0, nodes: 3, problem: nil} = Client.status(store)

    assert Client.stop(owner, Mock, state) == :ok
    assert Client.status(store) == nil
    assert :ets.info(:"mock of the client") == :undefined
  end

  describe "words/1" do
    test "returns a text of bounded length for any reason" do
      assert Client.words("as it is") == "as it is"
      assert Client.words(:timeout) == ":timeout"
      assert Client.words(%RuntimeError{message: "oops"}) == "oops"
      assert Client.words(<<255>>) == "<<255>>"

      for reason <- [Enum.to_list(1..10_000), String.duplicate("a", 10_000), self()] do
        words = Client.words(reason)
        assert String.valid?(words) and String.length(words) <= 500
      end
    end
  end
end
