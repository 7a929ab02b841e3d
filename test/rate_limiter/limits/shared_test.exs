defmodule RateLimiter.Limits.SharedTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Instance
  alias RateLimiter.Limits.Shared

  test "a table without a row has nothing yet" do
    %{table: table} = Instance.new(name: :shared)
    assert Shared.get(table) == %Shared{}
    assert Shared.resets(table, :api) == 0
    Shared.put(table, %Shared{resets: %{"api" => 3}})
    assert Shared.resets(table, :api) == 3
  end

  test "version/1 is that of the limits, in any order" do
    window = [limit: 1, per: :day]
    limiters = [api: [windows: [a: window, b: window]], mail: [windows: [w: window]]]

    version = fn limiters ->
      Task.async(fn ->
        RateLimiter.Test.start(limiters: limiters)
        Shared.version(RateLimiter.Instance.Registry.fetch!(RateLimiter))
      end)
      |> Task.await()
    end

    first = version.(limiters)
    assert first =~ ~r/\A[0-9a-f]{8}\z/
    assert version.(Enum.reverse(limiters)) == first
    assert version.(put_in(limiters, [:api, :windows], b: window, a: window)) == first
    assert version.(put_in(limiters, [:mail, :windows, :w, :limit], 2)) != first
  end
end
