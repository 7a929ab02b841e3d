# Draws the pictures of guides/limits.md, and prints its table of what sub-windows cost, from what the limiter itself
# answers: neither can show what the code does not do. A test compares them with what comes out anew.
#
#     mix run guides/images/draw.exs

for file <- ~w(traffic svg pictures sub_windows), do: Code.require_file(file <> ".exs", __DIR__)

for {file, content} <- Guides.Pictures.all() do
  File.write!(Path.join(__DIR__, file), content)
  IO.puts("guides/images/" <> file)
end

IO.puts(["\n", Guides.SubWindows.table()])
