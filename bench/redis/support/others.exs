defmodule Bench.Redis.Others do
  @moduledoc false
  # Redix with the plain script, and Hammer through Redix, if their sources are at hand: RATE_LIMITER_BENCH_PEERS names a
  # folder with checkouts of `nimble_options`, `redix`, `hammer` and `hammer-backend-redis`. They are compiled into this
  # run alone.

  alias Bench.Redis.Peer
  alias RateLimiter.Support.Redis

  @variable "RATE_LIMITER_BENCH_PEERS"
  @libraries ~w(nimble_options redix hammer hammer-backend-redis)
  @redix Bench.Redis.Redix
  @hammer Bench.Redis.Hammer

  # As ours: no call is denied.
  @limit 1_000_000_000
  @period_ms 3_600_000

  @type check :: (String.t() -> :ok)

  @doc "Starts them. Returns a check of each, none without their sources."
  @spec start(Redis.Server.t()) :: [{:redix | :hammer, check}]
  def start(server) do
    case System.get_env(@variable) do
      nil -> []
      folder -> start(server, folder)
    end
  end

  defp start(server, folder) do
    Enum.each(@libraries, &compile(Path.join(folder, &1)))
    url = "redis://127.0.0.1:#{server.port}"
    {:ok, _pid} = apply(Redix, :start_link, [url, [name: @redix]])

    Module.create(
      @hammer,
      quote(do: use(Hammer, backend: Hammer.Redis)),
      Macro.Env.location(__ENV__)
    )

    {:ok, _pid} = apply(@hammer, :start_link, [[url: url]])
    [redix: redix(Peer.sha(server)), hammer: &hammer/1]
  end

  defp redix(sha) do
    fn key ->
      {:ok, [1 | _rest]} = apply(Redix, :command, [@redix, Peer.command(sha, "bench:" <> key)])
      :ok
    end
  end

  defp hammer(key) do
    {:allow, _count} = apply(@hammer, :hit, [key, @period_ms, @limit])
    :ok
  end

  defp compile(folder) do
    files = Path.wildcard(Path.join(folder, "lib/**/*.ex"))
    files != [] || raise "#{@variable}: expected a checkout with lib/ in #{folder}"
    {:ok, _modules, _warnings} = Kernel.ParallelCompiler.compile(files)
  end
end
