defmodule RateLimiter.Core.SecretTest do
  # Not async: sets environment variables.
  use ExUnit.Case, async: false

  alias RateLimiter.Core.Secret

  @name "RATE_LIMITER_SECRET_TEST"

  setup do
    on_exit(fn -> System.delete_env(@name) end)
  end

  test "a hidden string is not inspected, and is read unchanged" do
    for string <- ["", "hunter2", "pässwörd", String.duplicate("x", 1_000)] do
      hidden = Secret.hide(string)
      assert Secret.secret?(hidden)
      assert Secret.read(hidden) == {:ok, string}
      if string != "", do: refute(inspect(hidden, limit: :infinity) =~ string)
    end
  end

  test "other terms are not wrapped" do
    function = fn -> "a" end
    for term <- [nil, 1, :a, {:system, "A"}, function], do: assert(Secret.hide(term) === term)
  end

  test "a secret is a string, a zero-arity function or the name of a variable" do
    for secret <- ["", "a", fn -> "a" end, {:system, "A"}], do: assert(Secret.secret?(secret))

    for other <- [nil, :a, 1, ~c"a", fn _ -> "a" end, {:system, ""}, {:system, :A}, {:env, "A"}],
        do: refute(Secret.secret?(other))
  end

  test "a variable is read at each call" do
    secret = {:system, @name}
    assert {:error, "the environment variable " <> _} = Secret.read(secret)

    for value <- ["first", "second"] do
      System.put_env(@name, value)
      assert Secret.read(secret) == {:ok, value}
    end
  end

  test "a function that fails is an error without what it said" do
    failures = [
      fn -> raise "hunter2" end,
      fn -> throw("hunter2") end,
      fn -> exit({:shutdown, "hunter2"}) end,
      fn -> {:ok, "hunter2"} end,
      fn -> "hunter2" <> <<255>> end,
      fn -> nil end
    ]

    for failure <- failures do
      assert {:error, reason} = Secret.read(failure)
      assert reason =~ "the function"
      refute reason =~ "hunter2"
    end
  end

  test "a key has at least 16 bytes, and messages do not show it" do
    for key <- ["0123456789abcdef", fn -> "0123456789abcdef" end],
        do: assert(Secret.key!(key, [:key]) == "0123456789abcdef")

    for {wrong, message} <- [
          {"hunter2", ~r/^store.key: expected at least 16 bytes/},
          {fn -> raise "hunter2" end, ~r/^store.key: the function raised RuntimeError/},
          {{:system, "RATE_LIMITER_NOT_SET"}, ~r/^store.key: the environment variable/}
        ] do
      error = assert_raise ArgumentError, message, fn -> Secret.key!(wrong, [:store, :key]) end
      refute Exception.message(error) =~ "hunter2"
    end
  end
end
