for file <- ~w(traffic svg pictures sub_windows) do
  Code.require_file("../guides/images/#{file}.exs", __DIR__)
end

defmodule RateLimiter.GuidesTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Documents

  doctest Documents.Limits

  @draw "it is not what the limiter does now: mix run guides/images/draw.exs"

  describe "guides/limits.md" do
    test "its pictures show what the limiter does" do
      for {file, content} <- Guides.Pictures.all() do
        assert File.read!(Documents.path("guides/images/#{file}")) == content, "#{file}: #{@draw}"
      end
    end

    test "its table of sub-windows says what they cost" do
      assert File.read!(Documents.path("guides/limits.md")) =~ Guides.SubWindows.table(),
             @draw
    end

    test "a key takes no more memory than it says" do
      guide = File.read!(Documents.path("guides/limits.md"))

      for {row, window} <- [
            {"`:token_bucket`", []},
            {"`:fixed_window`", [algorithm: :fixed_window]},
            {"`:sliding_window`, 10 sub-windows", [algorithm: :sliding_window]},
            {"`:sliding_log`, up to 4 stamps", [algorithm: :sliding_log]}
          ] do
        [_row, said] = Regex.run(~r/^\| #{Regex.escape(row)} \| (\d+) \|$/m, guide)
        # "About": how full the table is at the moment makes some difference.
        assert bytes_a_key(window) <= 1.1 * String.to_integer(said), row
      end
    end

    test "has no Elixir that does not run" do
      assert Documents.blocks("guides/limits.md") == []
    end
  end

  test "links lead somewhere" do
    for path <- Path.wildcard(Documents.path("guides/*.md")),
        link <- path |> Path.relative_to(Documents.path("")) |> Documents.links(),
        do: assert(File.exists?(link), "#{path}: #{link} is missing")
  end

  # Each in a process of its own, and so with limiters of its own.
  defp bytes_a_key(window) do
    task =
      Task.async(fn ->
        windows = [each: window ++ [limit: 10, per: :day]]
        RateLimiter.Test.start(limiters: [memory: [windows: windows, events: :none]])
        for id <- 1..50_000, do: {:ok, _} = RateLimiter.check_and_track(:memory, id)
        RateLimiter.stats()
      end)

    %{keys: 50_000, memory: bytes} = Task.await(task, :infinity)
    bytes / 50_000
  end
end
