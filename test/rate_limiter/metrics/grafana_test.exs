defmodule RateLimiter.Metrics.GrafanaTest do
  # The dashboard and the alerts of grafana/, before a real Prometheus that scrapes this node.
  use RateLimiter.Support.Redis.Case

  alias RateLimiter.{Algedonic, Metrics, VSM}
  alias RateLimiter.Support.{Program, Web}

  import RateLimiter.Support.Eventually

  @dashboard "grafana/dashboard.json"
  @alerts "grafana/alerts.yml"

  @tag :slow
  test "every query of the dashboard and of the alerts has data", context do
    %{name: name, server: server} = context
    local = {name, :local}
    in_memory = :"#{name} in memory"
    windows = [w: [limit: 5, per: :second]]
    store = {:redis, url: Redis.url(server), nodes: 1}
    limiter = [windows: windows, threshold: 0.8]

    for {instance, options} <- [
          {name, [store: store, vsm: true, limiters: [{name, limiter}]]},
          {local, [limiters: [{in_memory, [max_keys: 10] ++ limiter}]]}
        ],
        do:
          start_supervised!(
            Supervisor.child_spec({RateLimiter, [name: instance] ++ options}, id: instance)
          )

    start_supervised!(
      {Task,
       fn ->
         load(fn ->
           RateLimiter.check_and_track(name, "u")
           RateLimiter.check_and_track(in_memory, System.unique_integer())
           VSM.run(:s1, "u", fn -> :ok end, instance: name)
           Algedonic.pain(:s1, 0.95, instance: name, source: :test)
         end)
       end}
    )

    url = Web.start!(&Plug.Conn.send_resp(&1, 200, IO.iodata_to_binary(Metrics.prometheus())))
    prometheus = prometheus!(url)

    for query <- queries() ++ alerts() do
      eventually(fn -> result(prometheus, query) != [] end, fn -> query end)
    end
  end

  test "promtool accepts the rules" do
    assert {_output, 0} = System.cmd("promtool", ["check", "rules", @alerts])
  end

  test "queries and alerts name only metrics that are documented" do
    {:docs_v1, _, _, _, %{"en" => documented}, _, _} = Code.fetch_docs(Metrics)

    used =
      for text <- queries() ++ alerts(),
          [name] <- Regex.scan(~r/rate_limiter_[a-z_]+/, text),
          uniq: true,
          do: String.replace(name, ~r/_(bucket|count)$/, "")

    assert used != []
    assert for(name <- used, not (documented =~ "`#{name}`"), do: name) == []
  end

  defp load(call) do
    call.()
    Process.sleep(10)
    load(call)
  end

  defp queries do
    [_ | _] =
      for [_, query] <- scan(@dashboard, ~r/"expr": "((?:[^"\\]|\\.)*)"/), do: concrete(query)
  end

  # Without its comparison an alert has data, too.
  defp alerts do
    [_ | _] =
      for [_, rule] <- scan(@alerts, ~r/expr: (?:>-\n)?(.*?)\n        (?:for|labels)/s) do
        rule
        |> String.replace(~r/ (>|<|==) [0-9.]+$/, "")
        |> String.replace(~r/\s+/, " ")
        |> concrete()
      end
  end

  defp scan(path, regex), do: Regex.scan(regex, File.read!(path))

  defp concrete(query) do
    query
    |> String.replace("\\\"", "\"")
    |> String.replace("$__rate_interval", "10s")
    |> String.replace(["$name", "$limiter"], ".*")
  end

  ## Prometheus

  defp prometheus!(url) do
    directory = Path.join(System.tmp_dir!(), "prometheus_#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)

    File.write!(Path.join(directory, "prometheus.yml"), """
    global: {scrape_interval: 1s, evaluation_interval: 1s}
    rule_files: [#{Path.absname(@alerts)}]
    scrape_configs:
      - job_name: rate_limiter
        static_configs: [{targets: ["#{String.replace_prefix(url, "http://", "")}"]}]
    """)

    port = free_port()
    listen = "--web.listen-address=127.0.0.1:#{port}"
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", listen]
    program = System.find_executable("prometheus") || flunk("prometheus is missing: bin/setup")
    {:ok, _pid} = Program.start_link(directory, program, options)
    "http://127.0.0.1:#{port}"
  end

  # The values of a query now, [] before the first scrapes.
  defp result(prometheus, query) do
    url = "#{prometheus}/api/v1/query?query=#{URI.encode_www_form(query)}"

    case :httpc.request(:get, {to_charlist(url), []}, [], body_format: :binary) do
      {:ok, {{_, 200, _}, _, body}} -> Regex.scan(~r/"value":\[/, body)
      {:ok, {{_, 400, _}, _, body}} -> flunk(body)
      _not_yet -> []
    end
  end

  defp free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end
end
