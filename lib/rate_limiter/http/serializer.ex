defmodule RateLimiter.HTTP.Serializer do
  @moduledoc false
  # Policies as the header fields of each format. A format never changes once it is released.

  alias RateLimiter.HTTP.Policy

  @spec fields(RateLimiter.HTTP.format(), [Policy.t()]) :: [RateLimiter.HTTP.field()]
  def fields(:none, _policies), do: []

  def fields(_format, []), do: []

  def fields(:draft_11, policies) do
    [
      {"ratelimit-policy", list(policies, &[q: &1.quota, w: &1.period])},
      {"ratelimit", list(policies, &[r: &1.remaining, t: &1.time])}
    ]
  end

  def fields(:draft_6, policies) do
    legacy("ratelimit-", policies, & &1) ++
      [{"ratelimit-policy", Enum.map_join(policies, ", ", &"#{&1.quota}#{period(&1)}")}]
  end

  def fields({:x_rate_limit, :delta}, policies), do: legacy("x-ratelimit-", policies, & &1)

  # The time is rounded up, as the seconds are, so that a client is never too early.
  def fields(format, policies) when format in [:x_rate_limit, {:x_rate_limit, :epoch}] do
    now = div(System.os_time(:millisecond) + 999, 1_000)
    legacy("x-ratelimit-", policies, &(now + &1))
  end

  # These formats have one window: the one that denied for longest, else the one with the least left.
  defp legacy(prefix, policies, reset) do
    policy = Enum.min_by(policies, &{-order(&1.wait), &1.remaining})
    seconds = if policy.wait in [0, :infinity], do: policy.reset, else: policy.wait

    [
      {prefix <> "limit", Integer.to_string(policy.quota)},
      {prefix <> "remaining", Integer.to_string(policy.remaining)},
      {prefix <> "reset", Integer.to_string(reset.(seconds))}
    ]
  end

  defp order(:infinity), do: 1_000_000_000_000
  defp order(wait), do: wait

  defp period(%{period: nil}), do: ""
  defp period(%{period: seconds}), do: ";w=#{seconds}"

  defp list(policies, parameters) do
    Enum.map_join(policies, ", ", fn policy ->
      known = for {key, value} <- parameters.(policy), value != nil, do: ";#{key}=#{value}"
      ~s("#{policy.name}"#{known})
    end)
  end
end
