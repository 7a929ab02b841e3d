# A web server under load: clients of wrk, most of them over their limit. Exits with 1 if a response lacks its fields, has
# another status than 200 or 429, or if more requests are admitted than the limit allows.
#
#     MIX_ENV=prod mix run bench/http/wrk.exs [--quick]
#
# The server is OTP's own, so figures compare nothing but themselves.

Code.require_file("../support/machine.exs", __DIR__)

defmodule Bench.Http.Server do
  # The callback module of httpd. Each request names its client in `x-client`.
  require Record

  Record.defrecordp(:mod, Record.extract(:mod, from_lib: "inets/include/httpd.hrl"))

  def start! do
    {:ok, _} = Application.ensure_all_started(:inets)
    root = String.to_charlist(System.tmp_dir!())

    {:ok, server} =
      :inets.start(:httpd,
        port: 0,
        bind_address: {127, 0, 0, 1},
        server_name: 'localhost',
        server_root: root,
        document_root: root,
        max_clients: 1_000,
        modules: [__MODULE__]
      )

    [port: port] = :httpd.info(server, [:port])
    "http://127.0.0.1:#{port}/"
  end

  def unquote(:do)(request) do
    {_name, client} = List.keyfind(mod(request, :parsed_header), 'x-client', 0)
    answer = RateLimiter.check_and_track(:http, List.to_string(client), :window)
    {status, type, body} = respond(answer)

    fields =
      for {name, value} <- RateLimiter.HTTP.fields(answer),
          do: {to_charlist(name), to_charlist(value)}

    length = body |> IO.iodata_length() |> Integer.to_charlist()
    head = [{:code, status}, {:content_type, type}, {:content_length, length} | fields]
    {:proceed, [response: {:response, head, body}]}
  end

  defp respond({:ok, _usage}), do: {200, 'text/plain', "page"}

  defp respond(denied) do
    {status, type, body} = RateLimiter.HTTP.problem(denied)
    {status, to_charlist(type), body}
  end
end

defmodule Bench.Http do
  alias Bench.Machine

  @clients 8
  @limit 10
  @burst 20

  def run(seconds) do
    wrk = System.find_executable("wrk") || raise "expected wrk on the path, install Debian's wrk"
    Machine.print("HTTP: a limit under load")
    window = [limit: @limit, per: :second, burst: @burst]
    {:ok, _} = RateLimiter.start_link(limiters: [http: [windows: [window: window]]])
    url = Bench.Http.Server.start!()
    script = Path.join(__DIR__, "wrk.lua")
    arguments = ~w(-t2 -c32 -d#{seconds}s -s #{script} #{url} -- #{@clients})

    {micros, {output, 0}} =
      :timer.tc(fn -> System.cmd(wrk, arguments, stderr_to_stdout: true) end)

    IO.puts(output)
    [_, figures] = Regex.run(~r/^counted (.*)$/m, output)

    counts =
      for pair <- String.split(figures), [name, n] = String.split(pair, "="), into: %{} do
        {name, String.to_integer(n)}
      end

    most = @clients * (@burst + div(@limit * micros, 1_000_000) + 1)

    checks = [
      {"requests were admitted", counts["admitted"] > 0},
      {"requests were denied", counts["denied"] > 0},
      {"at most #{most} were admitted", counts["admitted"] <= most},
      {"each response had its fields", counts["without_fields"] == 0},
      {"no response had another status", counts["other"] == 0},
      {"no connection failed", counts["errors"] == 0}
    ]

    for {claim, holds?} <- checks,
        do: IO.puts("#{if holds?, do: "ok    ", else: "FAILED"} #{claim}")

    IO.puts("\nLoad average at the end: #{Machine.load()}.")
    if Enum.all?(checks, &elem(&1, 1)), do: :ok, else: System.halt(1)
  end
end

case System.argv() do
  [] -> Bench.Http.run(20)
  ["--quick"] -> Bench.Http.run(2)
  _ -> raise "expected no argument or --quick"
end
