defmodule RateLimiter.Terminal.Html do
  @moduledoc false
  # The frame of a page that is complete in one file: no font, no image, no network.

  @style Path.join(__DIR__, "style.css")
  @external_resource @style
  @css File.read!(@style)

  @doc "Returns a page with a title, CSS of its own and a body."
  @spec page(String.t(), iodata, iodata) :: iodata
  def page(title, css, body) do
    """
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>#{escape(title)}</title>
    <style>#{style(css)}</style>
    </head>
    <body>
    #{body}</body>
    </html>
    """
  end

  @doc "Returns the style of a page with CSS of its own: what a Content-Security-Policy has to allow."
  @spec style(iodata) :: String.t()
  def style(css), do: IO.iodata_to_binary(["\n", @css, css])

  @doc """
  Returns text that stands for itself in HTML and SVG, also within quotes.

      iex> RateLimiter.Terminal.Html.escape("<a href='x'>")
      "&lt;a href=&#39;x&#39;&gt;"
  """
  @spec escape(String.t()) :: String.t()
  def escape(text) do
    String.replace(text, ~w(& < > " '), fn
      "&" -> "&amp;"
      "<" -> "&lt;"
      ">" -> "&gt;"
      "\"" -> "&quot;"
      "'" -> "&#39;"
    end)
  end
end
