defmodule Guides.Svg do
  # The style and the shapes of the guides' pictures. Shapes differ as well as colours, which have a light and a dark set.
  @moduledoc false

  import RateLimiter.Terminal.Svg, only: [n: 1]
  alias RateLimiter.Terminal.Svg

  @style """
  text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#1d2126}
  .title{font-size:18px;font-weight:650}
  .name{font:600 13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
  .soft{fill:#5c6570}.small{font-size:11.5px}
  .page{fill:#fbfaf8;stroke:#dcdfe3}.plot{fill:#ffffff}
  .grid{stroke:#e6e8eb}.base{stroke:#a9b0b8}.window{stroke:#5c6570;stroke-dasharray:2 3}
  .admitted{fill:#2b6cb0}.denied{stroke:#c4332b;stroke-width:1.6;fill:none}
  .total{fill:#8fb0d0;fill-opacity:.55;stroke:#2b6cb0;stroke-width:1.2}
  .over{fill:#d99a1c;fill-opacity:.85}.limit{stroke:#1d2126;stroke-width:1.4;stroke-dasharray:6 4}
  @media (prefers-color-scheme:dark){
  text{fill:#e8eaec}.soft{fill:#a2abb5}.page{fill:#14171a;stroke:#363c43}.plot{fill:#1c2024}
  .grid{stroke:#2b3036}.base{stroke:#6b747e}.window{stroke:#a2abb5}
  .admitted{fill:#7ab8f5}.denied{stroke:#ff7a66}.total{fill:#4d7499;fill-opacity:.6;stroke:#7ab8f5}
  .over{fill:#e0ae45}.limit{stroke:#e8eaec}}
  """

  @doc "Returns a drawing with its title and description, which screen readers use."
  def drawing(width, height, title, description, content) do
    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{width} #{height}" width="#{width}" height="#{height}" ),
      ~s(role="img" aria-labelledby="title description">\n),
      ~s(<title id="title">#{title}</title>\n<desc id="description">#{description}</desc>\n),
      "<style>\n#{@style}</style>\n",
      ~s(<rect class="page" x=".5" y=".5" width="#{width - 1}" height="#{height - 1}" rx="8"/>\n),
      content,
      "</svg>\n"
    ]
    |> IO.iodata_to_binary()
  end

  defdelegate text(x, y, words, class \\ "", anchor \\ "start"), to: Svg
  defdelegate rect(class, x, y, width, height), to: Svg
  defdelegate line(class, x1, y1, x2, y2), to: Svg

  @doc "Returns the area under points that go from left to right."
  def area(class, [{x, y} | points]) do
    path = Enum.map_join(points, " ", fn {x, y} -> "L#{n(x)} #{n(y)}" end)
    ~s(<path class="#{class}" d="M#{n(x)} #{n(y)} #{path}Z"/>\n)
  end

  @doc "Returns dots for admitted calls."
  def dots(points) do
    for {x, y} <- points, do: ~s(<circle class="admitted" cx="#{n(x)}" cy="#{n(y)}" r="2.4"/>\n)
  end

  @doc "Returns crosses for denied calls, all in one path."
  def crosses([]), do: []

  def crosses(points) do
    path =
      Enum.map_join(points, fn {x, y} ->
        "M#{n(x - 2.4)} #{n(y - 2.4)}l4.8 4.8m0 -4.8l-4.8 4.8"
      end)

    ~s(<path class="denied" d="#{path}"/>\n)
  end
end
