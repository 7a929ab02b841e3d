defmodule RateLimiter.Support.Environment do
  @moduledoc "Variables of the environment, for tests that are not async."

  @doc "Deletes variables until the test is over."
  @spec without([String.t()]) :: :ok
  def without(names) do
    before = Map.take(System.get_env(), names)
    Enum.each(names, &System.delete_env/1)

    ExUnit.Callbacks.on_exit(fn ->
      Enum.each(names, &System.delete_env/1)
      System.put_env(before)
    end)
  end
end
