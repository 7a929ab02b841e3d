defmodule RateLimiter.Redis.CertificatesTest do
  # Certificate files are replaced while a node runs.
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.{Certificates, Heard}

  @event [:rate_limiter, :redis, :connection]
  @moduletag :slow
  @moduletag :tmp_dir
  @moduletag :capture_log

  setup %{test: name, tmp_dir: directory} do
    server = Redis.start_secured!(["limiter on >secret ~rate_limiter:* +@all"])
    %{ca: ca, client: {certificate, key}} = server.certificates
    files = for file <- ["ca.pem", "client.pem", "client.key"], do: Path.join(directory, file)
    {:ok, name: name, server: server, right: [ca, certificate, key], files: files}
  end

  defp start(%{name: name, server: server, files: [ca, certificate, key]}) do
    Heard.listen(name, [@event])
    store = [url: Redis.url(server), username: "limiter", password: "secret", timeout: 10_000]
    store = store ++ [ssl: [cacertfile: ca, certfile: certificate, keyfile: key]]
    limiters = [{name, [windows: [w: [limit: 10, per: :hour]]]}]
    start_supervised!({RateLimiter, name: name, store: {:redis, store}, limiters: limiters})
  end

  defp copy(from, to), do: Enum.zip_with(from, to, &File.cp!/2)

  defp change(pattern) do
    assert_receive {:event, @event, _measurements, %{change: change, reason: reason}}, 20_000
    if is_binary(reason) and reason =~ pattern, do: change, else: change(pattern)
  end

  test "new connections use replaced certificates", %{name: name, files: files} = context do
    # From an authority that the server does not trust, and without the server's.
    stranger = Path.join(context.tmp_dir, "stranger")
    File.mkdir_p!(stranger)
    %{ca: ca, client: {certificate, key}} = Certificates.write!(stranger)
    copy([ca, certificate, key], files)
    start(context)
    assert :failed = change(~r/certificate/)
    copy(context.right, files)
    Redis.ready!(name, :w)
    assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(name, 1)
  end

  test "unusable certificates are reported, and the previous ones stay in use", context do
    %{name: name, files: [_ca, _certificate, key] = files} = context
    copy(context.right, files)
    start(context)
    Redis.ready!(name, :w)

    # During a rotation a file may be missing, or the key may belong to another certificate.
    for {break, words} <- [
          {&File.rm!/1, ~r/previous ones stay in use: .*client.key: no such file/},
          {&File.write!(&1, "-----BEGIN NOTHING"), ~r/previous ones stay in use: expected TLS/}
        ] do
      break.(key)
      Redis.command!(context.server, ["CLIENT", "KILL", "TYPE", "normal"])
      assert :failed = change(words)
      Redis.ready!(name, :w)
    end
  end
end
