defmodule RateLimiter.ReqTest do
  # With the stand-in of test/support, or with the real Req.
  use ExUnit.Case, async: true

  alias RateLimiter.Req.TimeoutError

  # Pauses are kept for the whole node, so each test has a host of its own.
  setup context do
    RateLimiter.Test.start(limiters: [out: [windows: [w: [limit: 2, per: :hour]]]])
    {:ok, host: "#{context.line}.example.com"}
  end

  defp request(host, options \\ [], response \\ []) do
    test = self()

    adapter = fn request ->
      send(test, :sent)
      {request, Req.Response.new([status: 200] ++ response)}
    end

    Req.new(url: "http://#{host}/", adapter: adapter, retry: false)
    |> RateLimiter.Req.attach(Keyword.merge([limiter: :out, timeout: 50], options))
    |> Req.request()
  end

  defp answered(host, status, headers), do: request(host, [], status: status, headers: headers)

  test "a request is sent when it is admitted, and an error at once if its turn does not come in time",
       %{host: host} do
    assert {:ok, %{status: 200}} = request(host)
    assert {:ok, %{status: 200}} = request(host)
    for _ <- 1..2, do: assert_received(:sent)

    assert {:error, %TimeoutError{limiter: :out, retry_after_ms: 1_800_000} = error} =
             request(host)

    assert Exception.message(error) =~ "the limiter :out does not admit the request in time"
    refute_received :sent
  end

  test "a request waits for its turn", %{host: host} do
    for _ <- 1..2, do: request(host)
    waiting = Task.async(fn -> request(host, timeout: 3_600_000) end)
    RateLimiter.Test.advance(:hour)
    assert {:ok, %{status: 200}} = Task.await(waiting)
  end

  test "the id is the host, a term or a function of the request", %{host: host} do
    assert {:ok, _} = request(host)
    assert {:ok, _} = request(host, id: "key 1")
    assert {:ok, _} = request(host, id: &{:path, &1.url.path})

    for id <- [host, "key 1", {:path, "/"}],
        do: assert({:ok, %{remaining: 1}} = RateLimiter.get_usage(:out, id))
  end

  describe "after a response that" do
    test "denies with Retry-After, all requests of the host pause", %{host: host} do
      assert {:ok, %{status: 429}} = answered(host, 429, [{"retry-after", "30"}])
      assert_received :sent
      assert {:error, %TimeoutError{retry_after_ms: ms}} = request(host)
      assert ms in 20_000..30_000
      refute_received :sent
      # Nothing was charged for a request that was not sent, and other ids do not pause.
      assert {:ok, %{remaining: 1}} = RateLimiter.get_usage(:out, host)
      assert {:ok, _} = request("other." <> host)
    end

    test "has nothing left in RateLimit, they pause for the longest t", %{host: host} do
      field = ~s("a;r=0;t=90,b";r=5;t=70, "day" ; r=0; t=40;pk=:YQ==:, "x";r=0;t=20)
      assert {:ok, %{status: 200}} = answered(host, 200, [{"ratelimit", field}])
      assert {:error, %TimeoutError{retry_after_ms: ms}} = request(host)
      assert ms in 30_000..40_000
    end

    test "says nothing of the limit, or something invalid, they continue", %{host: host} do
      for {status, headers} <- [
            {200, [{"retry-after", "30"}]},
            {200, [{"ratelimit", ~s("a";r=1;t=30)}]},
            {200, [{"ratelimit", "limit=1, remaining=0, reset=9"}]},
            {200, [{"ratelimit", ~s(";r=0;t=9)}]},
            {429, []},
            {429, [{"retry-after", "1.5"}]},
            {503, [{"retry-after", "soon"}]}
          ] do
        RateLimiter.reset(:out, host)
        assert {:ok, %{status: ^status}} = answered(host, status, headers)
        assert {:ok, _} = request(host)
      end
    end

    test "would pause for longer than an hour, the pause ends after an hour", %{host: host} do
      {:ok, _} = answered(host, 503, [{"retry-after", "999999999"}])
      assert {:error, %TimeoutError{retry_after_ms: ms}} = request(host)
      assert ms in 3_590_000..3_600_000
    end

    test "is not learned from with learn: false", %{host: host} do
      {:ok, _} = request(host, [learn: false], status: 429, headers: [{"retry-after", "30"}])
      assert {:ok, _} = request(host)
    end
  end

  test "attach/2 refuses invalid options" do
    for {options, message} <- [
          {[], "limiter: is required"},
          {[limiter: :out, timeout: :infinity], "timeout: expected an integer"},
          {[limiter: :out, retry: true], "unknown option :retry"}
        ] do
      error =
        assert_raise ArgumentError, fn -> RateLimiter.Req.attach(Req.new(url: ""), options) end

      assert Exception.message(error) =~ message
    end
  end
end
