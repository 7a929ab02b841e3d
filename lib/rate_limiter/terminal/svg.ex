defmodule RateLimiter.Terminal.Svg do
  @moduledoc false
  # A writer of SVG: elements, axes and their ticks.

  import RateLimiter.Terminal.Html, only: [escape: 1]

  @width 860
  @height 260
  @left 58
  @right 14
  @top 18
  @bottom 32

  @type box :: %{left: number, right: number, top: number, bottom: number}

  @doc "The part of a drawing that is within its axes."
  @spec box() :: box
  def box, do: %{left: @left, right: @width - @right, top: @top, bottom: @height - @bottom}

  @doc "A drawing with its name and its content in words, for those who do not see it."
  @spec drawing(String.t(), String.t(), String.t(), iodata) :: iodata
  def drawing(id, title, description, content) do
    [
      ~s(<div class="plot"><svg viewBox="0 0 #{@width} #{@height}" role="img" aria-labelledby="#{id}-t #{id}-d">),
      ~s(<title id="#{id}-t">),
      escape(title),
      ~s(</title><desc id="#{id}-d">),
      escape(description),
      "</desc>",
      content,
      "</svg></div>"
    ]
  end

  @doc "A rectangle; nothing of no size."
  @spec rect(String.t(), number, number, number, number, iodata) :: iodata
  def rect(class, x, y, width, height, content \\ [])
  def rect(_class, _x, _y, width, height, _content) when width <= 0 or height <= 0, do: []

  def rect(class, x, y, width, height, content) do
    [
      ~s(<rect class="#{class}" x="#{n(x)}" y="#{n(y)}" width="#{n(width)}" height="#{n(height)}">),
      content,
      "</rect>"
    ]
  end

  @doc "A straight line."
  @spec line(String.t(), number, number, number, number) :: iodata
  def line(class, x1, y1, x2, y2),
    do: ~s(<line class="#{class}" x1="#{n(x1)}" y1="#{n(y1)}" x2="#{n(x2)}" y2="#{n(y2)}"/>)

  @doc "Text at a point: `anchor` is `start`, `middle` or `end`."
  @spec text(number, number, String.t(), String.t(), String.t()) :: iodata
  def text(x, y, anchor, words, class \\ ""),
    do: [
      ~s(<text class="#{class}" x="#{n(x)}" y="#{n(y)}" text-anchor="#{anchor}">),
      escape(words),
      "</text>"
    ]

  @doc "What is shown of an element when the pointer rests on it."
  @spec tip(String.t()) :: iodata
  def tip(words), do: ["<title>", escape(words), "</title>"]

  @doc "Lines across the box with their numbers at the left; `ticks` are `{value, words}`."
  @spec rows(box, [{number, String.t()}], number) :: iodata
  def rows(box, ticks, highest) do
    for {value, words} <- ticks do
      y = y(box, value, highest)
      [line("axis", box.left, y, box.right, y), text(box.left - 8, y + 4, "end", words)]
    end
  end

  @doc "How high a value stands in the box."
  @spec y(box, number, number) :: float
  def y(box, value, highest), do: box.bottom - (box.bottom - box.top) * value / highest

  @doc """
  Round numbers from 0 to the first at or above `highest`, about four steps.

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

  # The first of 1, 2, 5, 10, 20, ... that is large enough.
  defp step(least) do
    power = Integer.pow(10, least |> max(1) |> :math.log10() |> floor())
    Enum.find([1, 2, 5, 10], &(&1 * power >= least)) * power
  end

  defp n(number) when is_integer(number), do: Integer.to_string(number)
  defp n(number), do: :erlang.float_to_binary(number * 1.0, decimals: 1)
end
