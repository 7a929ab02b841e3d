defmodule RateLimiter.HTTP.ProblemTest do
  use ExUnit.Case, async: true

  alias RateLimiter.HTTP.{Policy, Problem}
  alias RateLimiter.Usage

  @usage %Usage{limiter: :api, window: :w, max: 5, current: 5, remaining: 0}

  defp denied(usage \\ @usage), do: {:error, :rate_limited, usage}

  defp policy(name, fields \\ []),
    do: struct!(%Policy{name: name, quota: 5, remaining: 0, reset: 9, wait: 2}, fields)

  defp type(answer, policies, options \\ []) do
    {status, _content_type, body} = Problem.new(answer, policies, options)
    [_all, type] = Regex.run(~r/types#([a-z-]+)"/, IO.iodata_to_binary(body))
    {status, type}
  end

  test "new/3 is a whole document, with the windows that denied the call" do
    policies = [policy("a%22b"), policy("free", wait: 0), policy("c", wait: :infinity)]
    assert {429, "application/problem+json", body} = Problem.new(denied(), policies, [])

    assert IO.iodata_to_binary(body) ==
             ~s({"type":"https://iana.org/assignments/http-problem-types#quota-exceeded",) <>
               ~s("title":"Quota exceeded","status":429,"violated-policies":["a%22b","c"]})
  end

  test "new/3 has the status and the title of each type" do
    for {type, status, slug, title} <- [
          {:quota_exceeded, 429, "quota-exceeded", "Quota exceeded"},
          {:temporary_reduced_capacity, 503, "temporary-reduced-capacity",
           "Temporary reduced capacity"},
          {:abnormal_usage_detected, 429, "abnormal-usage-detected", "Abnormal usage detected"}
        ] do
      assert {^status, _, body} = Problem.new(denied(), [policy("w")], type: type)
      body = IO.iodata_to_binary(body)
      assert body =~ ~s(#{slug}","title":"#{title}","status":#{status},)
    end
  end

  test "new/3 blames the caller if one window would have denied the call at its configured limit" do
    reduced = policy("reduced", reduced?: true)

    assert type(denied(), [reduced, policy("free", wait: 0)]) ==
             {503, "temporary-reduced-capacity"}

    assert type(denied(), [reduced, policy("full")]) == {429, "quota-exceeded"}
    # A negative cost is never admitted.
    assert type(denied(%{@usage | cost: -1}), [reduced]) == {429, "quota-exceeded"}
    assert type(denied(%{@usage | cost: 0}), [reduced]) == {503, "temporary-reduced-capacity"}
  end

  test "new/3 never blames the caller of a call that could not be decided" do
    unavailable = {:error, :unavailable, @usage}
    assert type(unavailable, [policy("w")]) == {503, "temporary-reduced-capacity"}
  end

  test "new/3 raises for an unknown type and for other options" do
    for options <- [[type: :other], [typ: :quota_exceeded], :quota_exceeded] do
      assert_raise ArgumentError,
                   ~r/^expected type: one of :abnormal_usage_detected, :quota_exceeded, :temporary_reduced_capacity, got: /,
                   fn -> Problem.new(denied(), [policy("w")], options) end
    end
  end
end
