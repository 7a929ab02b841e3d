# Draws the pictures of guides/limits.md, and prints its table of sub-windows, both from the limiter's own answers. A test
# compares them with a new run.
#
#     mix run guides/pictures/draw.exs

for file <- ~w(traffic svg pictures sub_windows), do: Code.require_file(file <> ".exs", __DIR__)

for {file, content} <- Guides.Pictures.all() do
  File.write!(Path.join([__DIR__, "../images", file]), content)
  IO.puts("guides/images/" <> file)
end

IO.puts(["\n", Guides.SubWindows.table()])
