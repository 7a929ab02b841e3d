defmodule Lab.Demo.AccessLog do
  @moduledoc false
  # A day of a small shop's web server: made up, but of the shapes that real logs have. The same each time.

  # A day in UTC.
  @midnight 1_762_300_800
  @day 86_400
  @shoppers 900
  @agent "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
  @bot "Mozilla/5.0 (compatible; ExampleBot/2.1)"

  @doc "Writes the log, packed."
  @spec write!(Path.t()) :: :ok
  def write!(path) do
    :rand.seed(:exsss, {2025, 11, 5})
    lines = Enum.sort_by(shoppers() ++ engines() ++ scraper() ++ poller(), &elem(&1, 0))
    File.write!(path, lines |> Enum.map(&line/1) |> :zlib.gzip())
  end

  # Each comes once or twice, mostly in the evening, and a page brings its pictures along.
  defp shoppers do
    for number <- 1..@shoppers, _visit <- 1..:rand.uniform(2), reduce: [] do
      requests ->
        start = evening()
        ip = "198.51.#{div(number, 250)}.#{rem(number, 250) + 1}"

        requests ++
          for(
            page <- 1..:rand.uniform(8),
            part <- 0..:rand.uniform(7),
            do: {start + page * (10 + :rand.uniform(50)) + div(part, 4), ip, part(part), @agent}
          )
    end
  end

  # The sum of three dice lies in the middle, which is put at seven in the evening.
  defp evening do
    spread = Enum.sum(for _ <- 1..3, do: :rand.uniform(div(@day, 3)))
    rem(spread + 19 * 3_600 - div(@day, 2), @day)
  end

  defp part(0), do: "/products/#{:rand.uniform(400)}"
  defp part(_), do: "/images/#{:rand.uniform(2_000)}.jpg"

  # Two that are polite: a page every few seconds, all day.
  defp engines do
    for {ip, every} <- [{"203.0.113.7", 9}, {"203.0.113.80", 14}],
        second <- 0..(@day - 1)//every,
        do: {second + :rand.uniform(every), ip, "/products/#{:rand.uniform(400)}", @bot}
  end

  # One that is not: four pages a second for a quarter of an hour, at a quarter past three.
  defp scraper do
    for second <- 11_700..12_600,
        _ <- 1..4,
        do: {second, "192.0.2.66", "/products/#{:rand.uniform(400)}", "python-requests/2.32"}
  end

  # An old app that asks every second whether there is news, for as long as a phone is on.
  defp poller do
    for second <- 52_000..66_000,
        rem(second, 4) != 0,
        do: {second, "192.0.2.191", "/api/news", "ShopApp/1.0"}
  end

  defp line({second, ip, path, agent}) do
    # Written when it ends, so a few seconds out of order.
    time = DateTime.from_unix!(@midnight + min(second, @day - 1) - div(:rand.uniform(6), 6))
    stamp = Calendar.strftime(time, "%d/%b/%Y:%H:%M:%S +0000")
    ~s(#{ip} - - [#{stamp}] "GET #{path} HTTP/1.1" 200 #{:rand.uniform(40_000)} "-" "#{agent}"\n)
  end
end
