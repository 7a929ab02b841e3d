defmodule RateLimiter.Dashboard.ChartTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Dashboard.Chart

  defp text(drawing), do: IO.iodata_to_binary(drawing)

  defp polygons(drawing) do
    for [_, class, points] <-
          Regex.scan(~r/<polygon class="(\w+)" points="([^"]*)"/, text(drawing)) do
      {class,
       for(
         point <- String.split(points, " "),
         do: point |> String.split(",") |> Enum.map(&elem(Float.parse(&1), 0))
       )}
    end
  end

  test "admitted calls lie on the ground, and denied ones on top of them" do
    assert [{"denied", all}, {"admitted", admitted}] =
             polygons(Chart.small([{10, 0}, {10, 30}], [2, 0]))

    # From left to right, then back along the ground.
    assert all == [[0.0, 45.0], [300.0, 0.0], [300.0, 60.0], [0.0, 60.0]]
    assert admitted == [[0.0, 45.0], [300.0, 45.0], [300.0, 60.0], [0.0, 60.0]]
  end

  test "a missing point is a gap" do
    drawing = Chart.small([{1, 0}, {1, 0}, nil, {1, 0}, {1, 0}], [8, 6, 4, 2, 0])
    assert length(polygons(drawing)) == 4
  end

  test "without points the drawing is empty, and says when the history begins" do
    assert polygons(Chart.large([], [])) == []
    assert text(Chart.large([nil], [0])) =~ "The history begins with the first look at this page."
  end

  test "the caption has the highest sum and the span" do
    assert text(Chart.large([{1_000, 234}], [0])) =~
             "At most 1,234 calls a second in the last 2 seconds."

    assert text(Chart.large([{0, 0}, {1, 0}], [299, 0])) =~
             "At most 1 calls a second in the last 5 minutes."
  end

  test "a bar is as long as its share, and never longer than the whole" do
    assert text(Chart.bar(0.5)) =~ ~s(class="bar-part" x="0" y="0" width="50.0")
    assert text(Chart.bar(1.5)) =~ ~s(class="bar-part" x="0" y="0" width="100.0")
    refute text(Chart.bar(0)) =~ "bar-part"
  end
end
