defmodule RateLimiter.Replay.FormatsTest do
  # The default log formats of servers, load balancers and collectors: each one with the same three requests.
  use ExUnit.Case, async: true

  alias RateLimiter.Replay
  alias RateLimiter.Replay.Table

  @moduletag :tmp_dir

  # 2026-11-29 23:00:33 UTC
  @start 1_795_993_233
  @clients ["203.0.113.7", "198.51.100.9", "203.0.113.7"]

  defp run(%{tmp_dir: dir}, lines, options \\ []) do
    path = Path.join(dir, "a.log")
    File.write!(path, lines)
    {:ok, report} = Replay.run([path], [limits: ["1/min"]] ++ options)
    report
  end

  defp notes(report) do
    screen = %{color: false, unicode: true}
    report |> Table.render(screen) |> IO.iodata_to_binary() |> String.replace(~r/\s+/, " ")
  end

  defp at(second, format), do: Calendar.strftime(DateTime.from_unix!(@start + second), format)
  defp clf_time(second), do: at(second, "[%d/%b/%Y:%H:%M:%S +0000]")
  defp iso(second), do: at(second, "%Y-%m-%dT%H:%M:%SZ")

  defp combined(second, ip),
    do: ~s(#{ip} - - #{clf_time(second)} "GET /a?b HTTP/1.1" 200 5 "-" "curl/8.5")

  # One line of each format, without its end.
  defp formats do
    [
      {"nginx combined", nil, &combined/2},
      {"nginx main with X-Forwarded-For at the end", nil, &(combined(&1, &2) <> ~s( "10.0.0.1"))},
      {"nginx with X-Forwarded-For first", "list", &combined(&1, "#{&2}, 10.0.0.1")},
      {"a client with a port", "port", &combined(&1, "#{&2}:#{40_000 + &1}")},
      {"Apache vhost_combined", "virtual_host", &("shop.example:443 " <> combined(&1, &2))},
      {"syslog", "syslog",
       &("<190>" <> at(&1, "%b %d %H:%M:%S") <> " web1 nginx: " <> combined(&1, &2))},
      {"syslog, RFC 5424", "syslog",
       &("<190>1 #{iso(&1)} web1 nginx 12 - - " <> combined(&1, &2))},
      {"docker compose", "compose", &("web-1  | " <> combined(&1, &2))},
      {"docker json-file", "envelope", &docker(&1, combined(&1, &2))},
      {"docker json-file around JSON", "envelope", &docker(&1, nginx_json(&1, &2))},
      {"Kubernetes CRI", "kubernetes", &("#{iso(&1)} stdout F " <> combined(&1, &2))},
      {"Kubernetes CRI around JSON", "kubernetes",
       &("#{iso(&1)} stdout F " <> nginx_json(&1, &2))},
      {"nginx JSON with escapes of its own", nil, &nginx_json/2},
      {"Caddy", nil,
       &~s({"level":"info","ts":#{@start + &1}.25,"logger":"http.log.access","request":{"remote_ip":"#{&2}","remote_port":"5","method":"GET","uri":"/a?b"},"user_id":"","duration":0.001,"size":5,"status":200})},
      {"Traefik", nil,
       &~s({"ClientAddr":"#{&2}:5","ClientHost":"#{&2}","DownstreamStatus":200,"Duration":5000,"RequestMethod":"GET","RequestPath":"/a?b","StartUTC":"#{iso(&1)}","time":"#{iso(&1)}"})},
      {"Envoy JSON", "port",
       &~s({"start_time":"#{iso(&1)}","method":"GET","path":"/a?b","response_code":200,"duration":3,"downstream_remote_address":"#{&2}:#{40_000 + &1}"})},
      {"Envoy", "envoy",
       &~s([#{iso(&1)}] "GET /a?b HTTP/2" 200 - 0 5 226 100 "#{&2}" "curl/8" "cc21" "shop" "tcp://10.0.2.1:80")},
      {"Application Load Balancer", "amazon",
       &~s(https #{iso(&1)} app/shop/50dc #{&2}:#{40_000 + &1} 10.0.0.1:80 0.0 0.0 0.0 200 200 34 5 "GET https://shop.example:443/a?b HTTP/1.1" "curl/8" ECDHE TLSv1.2 arn "Root=1" "-" "-" 0)},
      {"Classic Load Balancer", "amazon",
       &~s(#{iso(&1)} shop #{&2}:#{40_000 + &1} 10.0.0.1:80 0.0 0.0 0.0 200 200 34 5 "GET https://shop.example:443/a?b HTTP/1.1" "curl/8" - -)},
      {"Cloudflare", nil,
       &~s({"ClientIP":"#{&2}","ClientRequestMethod":"GET","ClientRequestURI":"/a?b","EdgeResponseStatus":200,"EdgeStartTimestamp":"#{iso(&1)}"})},
      {"Google load balancer", nil,
       &~s({"httpRequest":{"remoteIp":"#{&2}","requestMethod":"GET","requestUrl":"https://shop.example/a?b","status":200},"timestamp":"#{iso(&1)}"})},
      {"Elastic Common Schema", nil,
       &~s({"@timestamp":"#{iso(&1)}","client":{"ip":"#{&2}"},"url":{"path":"/a"},"http":{"request":{"method":"GET"}}})},
      {"IIS", "w3c",
       &~s(#{at(&1, "%Y-%m-%d %H:%M:%S")} 10.0.0.5 GET /a b 443 - #{&2} curl/8 - 200 0 0 15)},
      {"CloudFront", "w3c",
       &~s(#{at(&1, "%Y-%m-%d\t%H:%M:%S")}\tFRA2\t5\t#{&2}\tGET\thost\t/a\t200)}
    ]
  end

  defp header("IIS"),
    do:
      "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Fields: date time s-ip cs-method " <>
        "cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus " <>
        "sc-win32-status time-taken\n"

  defp header("CloudFront"),
    do:
      "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status\n"

  defp header(_name), do: ""

  defp docker(second, line) do
    text = line |> String.replace("\\", "\\\\") |> String.replace("\"", "\\\"")
    ~s({"log":"#{text}\\n","stream":"stdout","time":"#{iso(second)}"})
  end

  defp nginx_json(second, ip),
    do:
      ~S({"time":0.003,"time_iso8601":") <>
        iso(second) <>
        ~S(","remote_addr":") <> ip <> ~S(","agent":"a \x22b\x22","uri":"/a?b","method":"GET"})

  defp log(name, line) do
    lines = for {ip, second} <- Enum.with_index(@clients), do: [line.(second, ip), "\n"]
    [header(name) | lines]
  end

  test "the client and the time of every format are read", context do
    for {name, layout, line} <- formats() do
      report = run(context, log(name, line))
      assert %{requests: 3, broken: 0, without_id: 0, ids: 2} = report.input, name
      assert [%{id: ["203.0.113.7"], requests: 2, denied: 1}] = hd(report.verdicts).top, name
      assert {first, 0} = report.input.first
      assert div(first, 1_000_000_000) == @start, name
      layouts = Map.new(report.input.layouts)
      if layout, do: assert(layouts[layout] == 3, name), else: assert(layouts == %{}, name)
      refute notes(report) =~ "could not be read"
      assert {0, 0, 0, nil} = report.input.suspects
    end
  end

  test "the path and the method of every format are read", context do
    for {name, _layout, line} <- formats() do
      report = run(context, log(name, line), by: ["method", "path"])
      assert [%{id: ["GET", "/a"], requests: 3}] = hd(report.verdicts).top, name
    end
  end

  test "what stood around the fields is reported", context do
    {_, _, line} = List.keyfind(formats(), "Apache vhost_combined", 0)

    assert notes(run(context, log("", line))) =~
             "3 requests have a virtual host before the address"
  end

  test "a line without the field lists the fields that it has, and the one that may be meant",
       context do
    line = ~s({"level":"info","at":"2026-11-29T23:00:33Z","peer":{"addr":"203.0.113.7:5"}}\n)
    notes = notes(run(context, line, time_field: "at"))

    assert notes =~
             "has no ip and was not judged the first such line has the fields at, level, peer.addr. Try --by peer.addr"

    notes = notes(run(context, line, by: "peer.addr"))
    assert notes =~ "a JSON object without a time (--time-field)"
    assert notes =~ "the first such line has the fields at, level, peer.addr. Try --time-field at"
  end

  test "ids that look wrong are reported with the option that mends them", context do
    json = fn ip -> ~s({"time":"2026-11-29T23:00:33Z","peer":"#{ip}"}\n) end

    for {ids, message} <- [
          {["10.0.0.1:1", "10.0.0.1:2"], "2 of 2 ids are addresses with a port"},
          {["10.0.0.1, 10.0.0.2"], "1 of 1 id is a list of addresses, such as 10.0.0.1, 10.0.0.2"}
        ] do
      notes = notes(run(context, Enum.map(ids, json), by: "peer"))
      assert notes =~ message
      assert notes =~ "--by ip --field ip=peer"
      report = run(context, Enum.map(ids, json), fields: %{"ip" => "peer"})
      assert report.input.ids == 1
    end

    assert notes(run(context, json.("web-1:80"), fields: %{"ip" => "peer"})) =~
             "1 of 1 id is not an address, such as web-1:80"

    assert notes(run(context, List.duplicate(json.("10.0.0.1"), 50), by: "peer")) =~
             "all requests have one id: check that peer is the client"
  end

  test "bare carriage returns are named, also in gzip", context do
    lines = Enum.map_join(0..2, "\r", &combined(&1, "10.0.0.1"))

    for log <- [lines, :zlib.gzip(lines)],
        do: assert(notes(run(context, log)) =~ "bare carriage returns")
  end

  test "UTF-16 in gzip is named", context do
    text = :unicode.characters_to_binary(combined(0, "10.0.0.1"), :utf8, {:utf16, :little})
    assert notes(run(context, :zlib.gzip(text))) =~ "its text is UTF-16"
  end

  test "a log that is written newest first is read in order of time", context do
    lines = for second <- 3_600..0//-1, do: [combined(second, "10.0.0.1"), "\n"]
    report = run(context, lines)
    assert hd(report.verdicts).denied == 3_601 - 61
    assert notes(report) =~ "the log is written newest first, and was read in order of time"
  end
end
