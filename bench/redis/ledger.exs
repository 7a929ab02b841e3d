# The calls that four nodes admit together through one Redis, by fault, compared with the documented bounds.
#
#     MIX_ENV=test mix run bench/redis/ledger.exs [--quick] [--guide] [FAULT...]
#
# With --guide the table is also written into guides/redis.md.

for file <- ~w(machine table), do: Code.require_file("../support/#{file}.exs", __DIR__)

defmodule Bench.Redis.Ledger do
  alias Bench.{Machine, Table}
  alias RateLimiter.Support.Ledger

  @guide Path.expand("../../guides/redis.md", __DIR__)
  @headings ["fault", "calls", "answered", "alone", "longest ms", "admitted", "allowed"] ++
              Enum.map(Ledger.windows(), &"#{&1} over") ++
              ["reset back", "refund back", "named twice", "open ms", "recover ms"]
  @full [calm: 2_000, fault: 2_000, settle: 1_000]
  @quick [calm: 300, fault: 400, settle: 300]

  def run(nodes, times, faults) do
    Machine.print("Redis: the ledger of what was admitted")
    introduce(Ledger.terms(), times)

    lines =
      for fault <- faults do
        IO.write(:stderr, "#{fault.name}... ")
        Ledger.line(fault, nodes, times)
      end

    IO.puts(:stderr, "")
    Table.print(@headings, Enum.map(lines, &row/1))

    for line <- lines,
        line.raised + line.leftover > 0 or
          Enum.any?(Ledger.windows(), &(line.over[&1] > line.bound[&1])) or
          Enum.any?(line.back, fn {_what, {back, most}} -> back > most end),
        do: IO.puts("BROKEN: #{inspect(line)}")

    IO.puts("Load average at the end: #{Machine.load()}.\n")
  end

  def times(:full), do: @full
  def times(:quick), do: @quick

  @doc "Writes what `fun` prints into the guide, too."
  def into_guide(fun) do
    printed = printed(fun)
    # The guide has a title of its own.
    [_title, rest] = String.split(printed, "\n\n", parts: 2)
    guide = File.read!(@guide)

    [before, _old, behind] =
      String.split(guide, ~r/(?<=<!-- ledger -->\n).*(?=<!-- \/ledger -->)/s,
        include_captures: true
      )

    File.write!(@guide, before <> rest <> behind)
    IO.write(printed)
  end

  defp printed(fun) do
    {:ok, device} = StringIO.open("")
    leader = Process.group_leader()
    Process.group_leader(self(), device)
    fun.()
    Process.group_leader(self(), leader)
    {:ok, {_in, out}} = StringIO.close(device)
    out
  end

  defp introduce(terms, times) do
    IO.puts("""
    #{terms.nodes} BEAM nodes, operating-system processes of this machine, each with #{terms.workers} processes that check the same \
    #{terms.keys} keys with a
    millisecond between two calls. A key has three windows, checked one by one: a token bucket of #{terms.limit} a second with a burst of
    #{terms.burst}, a strict sliding window of #{terms.limit} in a second, and a fixed one. The first #{times[:calm]} ms are without a fault, the
    fault lasts for #{times[:fault]} ms where its length is a choice, and the nodes continue until all answers come from Redis again.

    `alone` were answered without Redis. `over`, of each window, is the worst stretch of the worst key, in calls above what
    is allowed in a stretch `d` (`burst + d * rate`; the limit in any second; the limit in each second of the calendar),
    followed by the most that is promised. Before the fault, one node resets a key and refunds a part of another that all nodes
    have used: `reset back` and `refund back` are what of that counts as used afterwards. During it, all nodes make calls
    under the same request ids: `named twice` counts those that Redis has charged more than once. `open` is the time from
    the start of the fault until the breaker of the last node was open, `recover` that from its end until the last answer
    without Redis.
    """)
  end

  defp row(line) do
    [
      line.fault,
      Table.count(line.calls),
      Table.count(line.answered),
      Table.count(line.alone),
      Table.decimal(line.longest_ms),
      Table.count(line.admitted),
      Table.count(line.allowed)
    ] ++
      for(window <- Ledger.windows(), do: "#{line.over[window]} of #{line.bound[window]}") ++
      for(what <- [:reset, :refunded, :named], do: back(line.back[what])) ++
      [told(line.opened_ms), told(line.recovered_ms)]
  end

  defp back({back, most}), do: "#{back} of #{most}"

  defp told(nil), do: "-"
  defp told(ms), do: Table.count(ms)
end

{flags, names} = Enum.split_with(System.argv(), &(&1 in ["--quick", "--guide"]))
times = Bench.Redis.Ledger.times(if "--quick" in flags, do: :quick, else: :full)
all = RateLimiter.Support.Ledger.Fault.all()
faults = if names == [], do: all, else: RateLimiter.Support.Ledger.Fault.named(names)
nodes = RateLimiter.Support.Ledger.start_nodes!()
run = fn -> Bench.Redis.Ledger.run(nodes, times, faults) end
if "--guide" in flags, do: Bench.Redis.Ledger.into_guide(run), else: run.()
