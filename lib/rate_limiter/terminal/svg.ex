defmodule RateLimiter.Terminal.Svg do
  @moduledoc false
  # A writer of SVG: elements, axes and their ticks.

  import RateLimiter.Terminal.Html, only: [escape: 1]

  @broad %{width: 860, height: 260, left: 58, right: 846, top: 18, bottom: 228}
  # For a phone: text has the size that it has beside the drawing.
  @narrow %{width: 330, height: 230, left: 44, right: 322, top: 18, bottom: 198}

  @typedoc "The size of a drawing, and the area inside of its axes."
  @type box :: %{
          width: number,
          height: number,
          left: number,
          right: number,
          top: number,
          bottom: number
        }

  @doc "Returns the areas of a chart: on a wide page, and on a narrow one."
  @spec boxes() :: {broad :: box, narrow :: box}
  def boxes, do: {@broad, @narrow}

  @doc "Returns a chart that is drawn twice, for wide and for narrow pages; the page shows the one that fits."
  @spec chart(String.t(), String.t(), String.t(), (box -> iodata)) :: iodata
  def chart(id, title, description, draw) do
    [
      [~s(<div class="broad">), drawing(id, title, description, draw.(@broad)), "</div>"],
      ~s(<div class="narrow">),
      drawing("#{id}-narrow", title, description, draw.(@narrow), @narrow),
      "</div>"
    ]
  end

  @doc "Returns a drawing with its title and description, which screen readers use."
  @spec drawing(String.t(), String.t(), String.t(), iodata, box) :: iodata
  def drawing(id, title, description, content, box \\ @broad) do
    [
      ~s(<svg viewBox="0 0 #{box.width} #{box.height}" role="img" aria-labelledby="#{id}-t #{id}-d">),
      ~s(<title id="#{id}-t">),
      escape(title),
      ~s(</title><desc id="#{id}-d">),
      escape(description),
      "</desc>",
      content,
      "</svg>"
    ]
  end

  @doc "Returns a rectangle, or nothing if its size is zero."
  @spec rect(String.t(), number, number, number, number, iodata) :: iodata
  def rect(class, x, y, width, height, content \\ [])
  def rect(_class, _x, _y, width, height, _content) when width <= 0 or height <= 0, do: []

  def rect(class, x, y, width, height, content) do
    rect =
      ~s(<rect class="#{class}" x="#{n(x)}" y="#{n(y)}" width="#{n(width)}" height="#{n(height)}")

    if content == [], do: [rect, "/>\n"], else: [rect, ">", content, "</rect>\n"]
  end

  @doc "Returns a straight line."
  @spec line(String.t(), number, number, number, number) :: iodata
  def line(class, x1, y1, x2, y2),
    do: ~s(<line class="#{class}" x1="#{n(x1)}" y1="#{n(y1)}" x2="#{n(x2)}" y2="#{n(y2)}"/>\n)

  @doc "Returns text at a point. `anchor` is `start`, `middle` or `end`."
  @spec text(number, number, String.t(), String.t(), String.t()) :: iodata
  def text(x, y, words, class \\ "", anchor \\ "start"),
    do: [
      ~s(<text class="#{class}" x="#{n(x)}" y="#{n(y)}" text-anchor="#{anchor}">),
      escape(words),
      "</text>\n"
    ]

  @doc "Returns a line through points, with a dot on each."
  @spec polyline(String.t(), [{number, number}]) :: iodata
  def polyline(name, points) do
    [
      ~s(<polyline class="line-#{name}" points="#{points(points)}"/>),
      for({x, y} <- points, do: ~s(<circle class="dot-#{name}" cx="#{n(x)}" cy="#{n(y)}" r="3"/>))
    ]
  end

  @doc "Returns points as an attribute of a polyline or polygon."
  @spec points([{number, number}]) :: String.t()
  def points(points), do: Enum.map_join(points, " ", fn {x, y} -> "#{n(x)},#{n(y)}" end)

  @doc "Returns the text that shows when the pointer rests on an element."
  @spec tip(String.t()) :: iodata
  def tip(words), do: ["<title>", escape(words), "</title>"]

  @doc "Returns the horizontal grid lines with their labels; `ticks` are `{value, label}`."
  @spec rows(box, [{number, String.t()}], number) :: iodata
  def rows(box, ticks, highest) do
    for {value, words} <- ticks, do: row(box, y(box, value, highest), words)
  end

  @doc "Returns one grid line with its label."
  @spec row(box, number, String.t()) :: iodata
  def row(box, y, words),
    do: [line("axis", box.left, y, box.right, y), text(box.left - 8, y + 4, words, "", "end")]

  @doc "Returns the y coordinate of a value."
  @spec y(box, number, number) :: float
  def y(box, value, highest), do: box.bottom - (box.bottom - box.top) * value / highest

  @doc """
  Returns round numbers from 0 to the first at or above `highest`, in about four steps.

      iex> RateLimiter.Terminal.Svg.ticks(136)
      [0, 50, 100, 150]

      iex> RateLimiter.Terminal.Svg.ticks(1)
      [0, 1]
  """
  @spec ticks(number) :: [non_neg_integer]
  def ticks(highest) do
    step = step(max(highest, 1) / 4)
    Enum.to_list(0..(step * ceil(max(highest, 1) / step))//step)
  end

  # The smallest of 1, 2, 5, 10, 20, ... that is at least `least`.
  defp step(least) do
    power = Integer.pow(10, least |> max(1) |> :math.log10() |> floor())
    Enum.find([1, 2, 5, 10], &(&1 * power >= least)) * power
  end

  @doc "Returns a coordinate."
  @spec n(number) :: String.t()
  def n(number) when is_integer(number), do: Integer.to_string(number)
  def n(number), do: :erlang.float_to_binary(number, decimals: 1)
end
