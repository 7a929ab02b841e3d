defmodule RateLimiter.Store.VectorsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Store.Vectors

  test "a case has a title, a start, windows and steps with their lines" do
    path = Path.join(System.tmp_dir!(), "vectors_#{System.unique_integer([:positive])}.txt")
    on_exit(fn -> File.rm(path) end)

    File.write!(path, """
    # A comment
    case one of two
    start 5
    window w fixed_window limit=3 per_ms=10 aligned=false   # the only one
    at 7 check ann w 1 = allowed w w:3:2:10:10:0
    at 8 reset ann w

    case two
    window v token_bucket limit=1 per_ms=1
    """)

    window = [algorithm: :fixed_window, limit: 3, per: {10, :millisecond}, aligned: false]

    assert [%{title: "one of two", start: 5, windows: [w: ^window], steps: steps}, %{steps: []}] =
             Vectors.cases(path)

    assert steps == [
             {5, 7, ["check", "ann", "w", "1"], ["allowed", "w", "w:3:2:10:10:0"]},
             {6, 8, ["reset", "ann", "w"], []}
           ]
  end

  test "names are atoms, options a keyword list" do
    assert Vectors.windows("a,b") == [:a, :b]
    assert Vectors.atom("a") == :a
    assert Vectors.options(["limit=2", "per_ms=3"]) == [limit: 2, per: {3, :millisecond}]
  end
end
