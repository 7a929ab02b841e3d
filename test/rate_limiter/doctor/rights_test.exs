defmodule RateLimiter.Doctor.RightsTest do
  use RateLimiter.Support.Redis.Case, async: true

  alias RateLimiter.Doctor.Rights
  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Support.Documents

  @key "rate_limiter:{doctor}"

  # They are shown by the connection itself, or by another check.
  @elsewhere ~w(evalsha info set)

  test "each right of the guide that the user lacks is found, and nothing is written", context do
    server = Redis.start!(config: [user: Documents.rights()])
    start(%{context | server: server}, username: "limiter", password: "secret")
    %Instance{store: {:redis, store}} = Registry.fetch!(context.name)
    assert Rights.missing(store, @key) == %{calls: [], nodes: [], agreement: []}
    assert Redis.command!(server, ["EXISTS", @key]) == 0

    [_, _, _ | rights] = Regex.scan(~r/ \+(\S+)/, Documents.rights(), capture: :all_but_first)
    rights = Enum.map(rights, &hd/1) -- @elsewhere

    for right <- rights do
      Redis.command!(server, ["ACL", "SETUSER", "limiter", "-#{right}"])
      missing = Rights.missing(store, @key)
      assert missing |> Map.values() |> Enum.concat() == [right], inspect({right, missing})
      Redis.command!(server, ["ACL", "SETUSER", "limiter", "+#{right}"])
    end

    assert length(rights) > 10
  end
end
