defmodule RateLimiter.Replay.GuideTest do
  # Every command of the guide runs, and what the guide says that it prints is what it prints.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  @guide "guides/replay.md"
  @external_resource @guide
  @log "../shared/data/access.log.gz"
  @moduletag :tmp_dir
  @moduletag skip:
               if(not File.exists?(@log),
                 do: "#{@log} is absent: the real log is not part of the source"
               )

  setup %{tmp_dir: dir} do
    blocks = Regex.scan(~r/^```(\w+)\n(.*?)^```$/ms, File.read!(@guide), capture: :all_but_first)
    json = for ["json", lines] <- blocks, do: lines
    File.write!(Path.join(dir, "app.ndjson"), json)
    %{blocks: blocks}
  end

  test "every command runs and prints what the guide shows", %{blocks: blocks, tmp_dir: dir} do
    commands = for ["sh", command] <- blocks, do: command
    assert length(commands) == 8

    Enum.reduce(blocks, nil, fn
      ["sh", command], _ -> run(command, dir)
      ["text", shown], out -> assert_shown(shown, out) && out
      _, out -> out
    end)

    assert File.read!(Path.join(dir, "report.html")) =~
             "What these limits would have done to access.log.gz"
  end

  defp run("mix rate_limiter.replay " <> arguments, dir) do
    argv = for word <- String.split(arguments), do: in_place(word, dir)
    test = self()

    capture_io(:stderr, fn ->
      send(test, {:out, capture_io(fn -> Mix.Tasks.RateLimiter.Replay.run(argv) end)})
    end)

    assert_received {:out, out}
    out |> String.replace(@log, "access.log.gz") |> String.replace(dir <> "/", "")
  end

  defp in_place("access.log.gz", _dir), do: @log
  defp in_place(file, dir) when file in ["app.ndjson", "report.html"], do: Path.join(dir, file)
  defp in_place(word, _dir), do: word

  # Pieces between dots, each as it stands and in this order.
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
