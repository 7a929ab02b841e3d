defmodule RateLimiter.Support.ReplayReport do
  @moduledoc false
  # Reports of a day's log, for the tests of their forms.

  alias RateLimiter.Replay

  @doc "Runs a replay of `:log`, by default a day of a few clients with every defect that a line can have."
  @spec report(%{tmp_dir: Path.t()}, keyword) :: Replay.Report.t()
  def report(%{tmp_dir: dir}, options \\ []) do
    {log, options} = Keyword.pop_lazy(options, :log, &log/0)
    path = Path.join(dir, "a <i>log.log")
    File.write!(path, log)

    {:ok, report} =
      Replay.run([path], Keyword.put_new(options, :limits, ["1/min", "2/min:sliding_log"]))

    report
  end

  # A day of a few clients with a busy one.
  defp log do
    good =
      for minute <- 0..1_439, client <- clients(minute) do
        time = 1_431_820_800 + minute * 60 + rem(client, 60)
        ~s({"time":#{time},"ip":"#{name(client)}"}\n)
      end

    [
      good,
      ~s({"time":1431820800,"ip":"late"}\n),
      "<b>broken</b>\e[31m\n",
      ~s({"time":1431820800}\n)
    ]
  end

  defp clients(minute) when minute in 600..720, do: [1 | Enum.to_list(1..40)]
  defp clients(minute), do: [rem(minute, 97), rem(minute, 7)]

  defp name(1),
    do: ~s(<script>alert\(1\)</script>&amp;\\u001b[31m'\\" ) <> String.duplicate("x", 60)

  defp name(client), do: "10.0.0.#{client}"
end
