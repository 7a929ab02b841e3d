defmodule RateLimiter.MirrorTest do
  use ExUnit.Case, async: true

  # A struct without functions has no behaviour of its own.
  defp functions?(path), do: File.read!(path) =~ ~r/^ +def(p|delegate|guard|macro)? /m

  test "every module with functions has a test file at its own path" do
    for path <- Path.wildcard("lib/rate_limiter/**/*.ex"), functions?(path) do
      test = "test/" <> (path |> Path.relative_to("lib") |> Path.rootname()) <> "_test.exs"
      assert File.exists?(test), "#{path}: expected a test file #{test}"
    end
  end
end
