defmodule RateLimiter.Replay.ProgressTest do
  # Not async: standard error is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias RateLimiter.Replay.Progress

  @reached %{lines: 12_345, bytes: 50, size: 200}

  defp shown(updates, shown?) do
    capture_io(:stderr, fn ->
      progress = Progress.start(shown?)
      for reached <- updates, do: Progress.update(progress, reached)
      Progress.stop(progress)
    end)
  end

  test "the share read, the lines and the speed are on one line, which is cleared at the end" do
    assert shown([@reached], true) =~ ~r/\A\r\e\[K25 %  12,345 lines  [\d,]+ a second\r\e\[K\z/
  end

  test "a log of unknown size has no share, and no share is above 100 %" do
    refute shown([%{@reached | size: nil}], true) =~ "%"
    assert shown([%{@reached | bytes: 201}], true) =~ "100 %"
    assert shown([%{@reached | size: 0}], true) =~ "100 %"
  end

  test "a second update soon after the first is left out" do
    updates = [@reached | List.duplicate(%{@reached | lines: 99_999}, 3)]
    refute shown(updates, true) =~ "99,999"
  end

  test "the search is shown only after a line of progress" do
    assert shown([@reached, :fitting], true) =~ "searching the smallest limits ..."
    assert shown([:fitting], true) == ""
  end

  test "nothing is written unless it was asked for or standard error is a terminal" do
    assert shown([@reached, :fitting], false) == ""
  end
end
