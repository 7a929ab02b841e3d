defmodule RateLimiter.Replay.GuideTest do
  # Every command of guides/replay.md runs, and prints what the guide shows.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  @guide "guides/replay.md"
  @files ~w(access.log.gz access.log.1.gz app.ndjson report.html)
  @moduletag :tmp_dir

  setup %{tmp_dir: dir} do
    blocks = Regex.scan(~r/^```(\w+)\n(.*?)^```$/ms, File.read!(@guide), capture: :all_but_first)
    assert [make_log] = for(["sh", "elixir " <> _ = command] <- blocks, do: command)
    {_, 0} = System.cmd("sh", ["-c", in_place(make_log, dir)])
    File.cp!(Path.join(dir, "access.log.gz"), Path.join(dir, "access.log.1.gz"))
    File.write!(Path.join(dir, "app.ndjson"), for(["json", lines] <- blocks, do: lines))
    %{blocks: blocks}
  end

  @tag :slow
  test "every command runs and prints what the guide shows", %{blocks: blocks, tmp_dir: dir} do
    assert length(for ["sh", "mix " <> _] <- blocks, do: :command) == 8

    Enum.reduce(blocks, nil, fn
      ["sh", "mix rate_limiter.replay " <> arguments], _ -> run(arguments, dir)
      ["text", shown], out -> assert_shown(shown, out) && out
      _, out -> out
    end)

    assert File.read!(Path.join(dir, "report.html")) =~
             "What these limits would have done to access.log.gz"
  end

  defp run(arguments, dir) do
    argv = for word <- String.split(arguments), do: in_place(word, dir)
    test = self()

    capture_io(:stderr, fn ->
      send(test, {:out, capture_io(fn -> Mix.Tasks.RateLimiter.Replay.run(argv) end)})
    end)

    assert_received {:out, out}
    String.replace(out, dir <> "/", "")
  end

  defp in_place(text, dir), do: String.replace(text, @files, &Path.join(dir, &1))

  # The pieces between dots, each as it stands and in this order.
  defp assert_shown(shown, out) do
    shown
    |> String.split("...\n", trim: true)
    |> Enum.reduce(out, fn piece, rest ->
      assert [_, rest] = String.split(rest, piece, parts: 2),
             "not printed:\n#{piece}\nbut:\n#{rest}"

      rest
    end)
  end
end
