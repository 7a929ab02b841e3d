defmodule RateLimiter.Dashboard.Chart do
  @moduledoc false
  # The last minutes of a limiter as SVG: what was admitted, and on top of it what was denied. Drawings stretch to the
  # place that they have, so their text is beside them.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Dashboard.History
  alias RateLimiter.Terminal.Svg

  @width 300
  @height 60

  @doc "Returns the drawing of an instance, with its scale in words."
  @spec large([History.point()], [number]) :: iodata
  def large(history, ages) do
    [
      area("chart", history, ages),
      ~s(<figcaption>),
      caption(history, ages),
      "</figcaption>\n"
    ]
  end

  @doc "Returns the drawing of one limiter in its row."
  @spec small([History.point()], [number]) :: iodata
  def small(history, ages), do: area("small chart", history, ages)

  @doc "Returns a bar of a share of 1."
  @spec bar(number) :: iodata
  def bar(share) do
    [
      ~s(<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">),
      ~s(<rect class="bar-whole" width="100" height="10"/>),
      Svg.rect("bar-part", 0, 0, min(share, 1.0) * 100, 10),
      "</svg>"
    ]
  end

  defp caption(history, ages) do
    case highest(history) do
      nil -> "The history begins with the first look at this page."
      highest -> "At most #{Numbers.number(highest)} calls a second in the last #{span(ages)}."
    end
  end

  defp area(class, history, ages) do
    words = caption(history, ages)
    top = max(highest(history) || 0, 1)
    span = max(List.first(ages) || 0, 1)

    [
      ~s(<svg class="#{class}" viewBox="0 0 #{@width} #{@height}" preserveAspectRatio="none" role="img" aria-label="#{words}">),
      for(
        run <- runs(Enum.zip(history, ages)),
        do: [
          polygon("denied", run, span, top, fn {admitted, denied} -> admitted + denied end),
          polygon("admitted", run, span, top, fn {admitted, _denied} -> admitted end)
        ]
      ),
      "</svg>"
    ]
  end

  # Where a point is missing, the drawing has a gap.
  defp runs(points) do
    points
    |> Enum.chunk_by(fn {point, _age} -> is_nil(point) end)
    |> Enum.reject(&match?([{nil, _age} | _], &1))
  end

  defp polygon(class, run, span, top, height) do
    xs = for {_point, age} <- run, do: @width - age / span * @width
    ys = for {point, _age} <- run, do: @height - height.(point) / top * @height
    ground = [{List.last(xs), @height}, {hd(xs), @height}]
    ~s(<polygon class="#{class}" points="#{Svg.points(Enum.zip(xs, ys) ++ ground)}"/>)
  end

  defp highest(history) do
    case for {admitted, denied} <- history, do: admitted + denied do
      [] -> nil
      sums -> Enum.max(sums)
    end
  end

  defp span([age | _]) when age >= 120, do: "#{round(age / 60)} minutes"
  defp span([age | _]), do: "#{max(round(age), 2)} seconds"
end
