defmodule RateLimiter.Test.SetupAllTest do
  # Limiters that setup_all starts: each test that is allowed uses them, and any other one is told how.
  use ExUnit.Case, async: true

  @limiters [in_setup_all: [windows: [w: [limit: 5, per: :hour]]]]

  setup_all do
    RateLimiter.Test.start(limiters: @limiters)
    %{owner: self()}
  end

  for n <- 1..2 do
    test "an allowed test uses them, and their clock (#{n})", %{owner: owner} do
      assert RateLimiter.Test.allow(owner, self()) == :ok
      {:ok, before} = RateLimiter.get_usage(:in_setup_all, "u", :w)
      assert {:ok, usage} = RateLimiter.check_and_track(:in_setup_all, "u", :w)
      assert usage.current == before.current + 1
      assert RateLimiter.update_limit(:in_setup_all, :w, limit: 5) == :ok
      assert RateLimiter.Test.advance(1) == :ok
    end
  end

  test "any other test gets an error that says how" do
    for call <- [
          fn -> RateLimiter.check_and_track(:in_setup_all, "u", :w) end,
          fn -> RateLimiter.check_batch(:in_setup_all, [{"u", 1}]) end,
          fn -> RateLimiter.update_limit(:in_setup_all, :w, limit: 6) end
        ] do
      assert_raise ArgumentError,
                   ~r/^unknown limiter :in_setup_all in this process: .* not in setup_all, or .*allow\/2$/,
                   call
    end
  end

  test "a test's own limiter of the same name hides them" do
    RateLimiter.Test.start(limiters: @limiters)
    assert {:ok, %{current: 1}} = RateLimiter.check_and_track(:in_setup_all, "u", :w)
  end
end
