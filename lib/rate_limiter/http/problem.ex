defmodule RateLimiter.HTTP.Problem do
  @moduledoc false
  # Problem documents of RFC 9457, with the types of draft-ietf-httpapi-ratelimit-headers.

  @types %{
    quota_exceeded: {429, "quota-exceeded", "Quota exceeded"},
    temporary_reduced_capacity: {503, "temporary-reduced-capacity", "Temporary reduced capacity"},
    abnormal_usage_detected: {429, "abnormal-usage-detected", "Abnormal usage detected"}
  }

  @spec new(RateLimiter.answer(), [RateLimiter.HTTP.Policy.t()], keyword) ::
          {429 | 503, String.t(), iodata}
  def new(answer, policies, options) do
    {status, name, title} = type!(options, answer, policies)
    violated = for policy <- policies, policy.wait != 0, do: [?", policy.name, ?"]

    body = [
      ~s({"type":"https://iana.org/assignments/http-problem-types#),
      name,
      ~s(","title":"),
      title,
      ~s(","status":),
      Integer.to_string(status),
      ~s(,"violated-policies":[),
      Enum.intersperse(violated, ?,),
      "]}"
    ]

    {status, "application/problem+json", body}
  end

  defp type!([], answer, policies), do: @types[cause(answer, policies)]
  defp type!([type: type], _answer, _policies) when is_map_key(@types, type), do: @types[type]

  defp type!(options, _answer, _policies) do
    known = @types |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)

    raise ArgumentError,
          "expected type: one of #{known}, got: #{RateLimiter.Core.Options.show(options)}"
  end

  # The quota is exceeded as soon as one window says so by its configured limit.
  defp cause({:error, :unavailable, _usage}, _policies), do: :temporary_reduced_capacity

  defp cause({:error, _denied, usage}, policies) do
    denied = Enum.filter(policies, &(&1.wait != 0))

    if usage.cost >= 0 and Enum.all?(denied, & &1.reduced?),
      do: :temporary_reduced_capacity,
      else: :quota_exceeded
  end
end
