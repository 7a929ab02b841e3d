defmodule RateLimiter.Doctor.RunningTest do
  # The instances of other tests run as well: each looks at its own.
  use ExUnit.Case, async: true

  alias RateLimiter.Doctor.Running
  alias RateLimiter.Support.Redis

  @moduletag :capture_log

  defp about(name) do
    Enum.find(Running.check(), fn {_level, "instance", what, _advice} ->
      String.starts_with?(what, inspect(name))
    end)
  end

  setup context do
    %{name: context.test, limiters: [{context.test, [windows: [w: [limit: 9, per: :day]]]}]}
  end

  test "an instance in memory", %{name: name, limiters: limiters} do
    assert about(name) == nil
    start_supervised!({RateLimiter, name: name, limiters: limiters})

    assert about(name) ==
             {:ok, "instance", "#{inspect(name)}, 1 limiters, counted in memory", nil}
  end

  test "an instance that is full, with what to change", %{name: name, limiters: limiters} do
    [{limiter, options}] = limiters
    limiters = [{limiter, options ++ [max_keys: 1]}]
    start_supervised!({RateLimiter, name: name, limiters: limiters})
    for id <- 1..9, do: RateLimiter.check_and_track(limiter, id)
    assert {:warning, "instance", what, "raise max_keys:" <> _} = about(name)
    assert what =~ "{:full,"
  end

  test "an instance with Redis, and without it", %{name: name, limiters: limiters} do
    server = Redis.start!()
    store = {:redis, url: Redis.url(server), nodes: 1}
    start_supervised!({RateLimiter, name: name, limiters: limiters, store: store})
    Redis.ready!(name, :w)
    assert {:ok, "instance", what, nil} = Redis.eventually(fn -> well(name) end)
    assert what =~ "alone in Redis"
    Redis.kill(server)
    assert {:warning, _, _, "the checks below" <> _} = Redis.eventually(fn -> unwell(name) end)
  end

  defp well(name), do: with({:warning, _, _, _} <- about(name), do: nil)
  defp unwell(name), do: with({:ok, _, _, _} <- about(name), do: nil)
end
