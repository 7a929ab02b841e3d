defmodule Guides.AccessLog do
  # The access log of guides/replay.md: a day of a small shop, made up with the shapes of real logs. It is the same each
  # time. `elixir -r guides/access_log.ex -e 'Guides.AccessLog.write!("access.log.gz")'` writes it; demo and tests use it.
  @moduledoc false

  # A day in UTC.
  @midnight 1_762_300_800
  @day 86_400
  @shoppers 900
  @browser "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
  @bot "Mozilla/5.0 (compatible; ExampleBot/2.1)"

  @doc "Writes the log, compressed."
  @spec write!(Path.t()) :: :ok
  def write!(path), do: File.write!(path, :zlib.gzip(lines()))

  @doc "Returns the lines of the log."
  @spec lines() :: [String.t()]
  def lines do
    :rand.seed(:exsss, {2025, 11, 5})
    requests = shoppers() ++ search_engines() ++ scraper() ++ poller()
    requests |> Enum.sort_by(&elem(&1, 0)) |> Enum.map(&line/1)
  end

  # One or two visits each, mostly in the evening. A page loads up to seven images.
  defp shoppers do
    for number <- 1..@shoppers,
        _visit <- 1..:rand.uniform(2),
        start = evening(),
        page <- 1..:rand.uniform(8),
        part <- 0..:rand.uniform(7) do
      second = start + page * (10 + :rand.uniform(50)) + div(part, 4)
      {second, "198.51.#{div(number, 250)}.#{rem(number, 250) + 1}", path(part), @browser}
    end
  end

  # The sum of three dice has its peak in the middle, which becomes seven in the evening.
  defp evening do
    spread = Enum.sum(for _ <- 1..3, do: :rand.uniform(div(@day, 3)))
    rem(spread + 19 * 3_600 - div(@day, 2), @day)
  end

  defp path(0), do: "/products/#{:rand.uniform(400)}"
  defp path(_), do: "/images/#{:rand.uniform(2_000)}.jpg"

  # Two polite ones: a page every few seconds, all day.
  defp search_engines do
    for {ip, every} <- [{"203.0.113.7", 9}, {"203.0.113.80", 14}],
        second <- 0..(@day - 1)//every,
        do: {second + :rand.uniform(every), ip, "/products/#{:rand.uniform(400)}", @bot}
  end

  # Four pages a second for a quarter of an hour, at a quarter past three.
  defp scraper do
    for second <- 11_700..12_600,
        _ <- 1..4,
        do: {second, "192.0.2.66", "/products/#{:rand.uniform(400)}", "python-requests/2.32"}
  end

  # An old app that polls every second while its phone is on.
  defp poller do
    for second <- 52_000..66_000,
        rem(second, 4) != 0,
        do: {second, "192.0.2.191", "/api/news", "ShopApp/1.0"}
  end

  # A server writes a line when the request ends, so some are out of order.
  defp line({second, ip, path, agent}) do
    time = DateTime.from_unix!(@midnight + min(second, @day - 1) - div(:rand.uniform(6), 6))
    stamp = Calendar.strftime(time, "%d/%b/%Y:%H:%M:%S +0000")
    ~s(#{ip} - - [#{stamp}] "GET #{path} HTTP/1.1" 200 #{:rand.uniform(40_000)} "-" "#{agent}"\n)
  end
end
