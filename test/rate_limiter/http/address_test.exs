defmodule RateLimiter.HTTP.AddressTest do
  use ExUnit.Case, async: true

  alias RateLimiter.HTTP

  @proxy {10, 0, 0, 1}
  @client {203, 0, 113, 7}
  @trust [trust: ["10.0.0.0/8"]]

  defp ip(value, options \\ @trust, peer \\ @proxy),
    do: HTTP.client_ip([{"x-forwarded-for", value}], peer, options)

  describe "client_ip/3" do
    test "a peer that is not trusted is the client, whatever it sends" do
      for header <- ["x-forwarded-for", "forwarded", "cf-connecting-ip"],
          options <- [[trust: []], @trust, [trust: [], hops: 3], @trust ++ [hops: 3]] do
        headers = [{header, "198.51.100.1"}, {header, "for=198.51.100.1"}]
        assert HTTP.client_ip(headers, @client, [header: header] ++ options) == @client
      end
    end

    test "counts from the right, by trust or by hops" do
      assert ip("198.51.100.1, 203.0.113.7") == @client
      assert ip("198.51.100.1, 203.0.113.7,10.9.9.9") == @client
      assert ip("198.51.100.1, 203.0.113.7, 192.0.2.1", @trust ++ [hops: 2]) == @client
      assert ip("198.51.100.1, 203.0.113.7", @trust ++ [hops: 1]) == @client
      # Fewer entries than proxies: the first is the word of a proxy, too.
      assert ip("203.0.113.7", @trust ++ [hops: 2]) == @client
      assert ip("10.0.0.9, 10.0.0.8") == {10, 0, 0, 9}
      assert HTTP.client_ip([], @proxy, @trust) == @proxy
    end

    test "lines are one list, in their order" do
      headers = [{"X-Forwarded-For", "198.51.100.1"}, {"x-forwarded-for", "203.0.113.7"}]
      assert HTTP.client_ip(headers, @proxy, @trust) == @client
    end

    test "reads ports, brackets and mapped addresses" do
      assert ip("203.0.113.7:4711") == @client
      assert ip("::ffff:203.0.113.7") == @client
      assert ip("[::ffff:cb00:7107]:443") == @client
      assert ip("[2001:db8:1:2:3::4]:443") == {0x2001, 0xDB8, 1, 2, 0, 0, 0, 0}
      assert ip("2001:db8:1:2:3::4", @trust ++ [v6: 128]) == {0x2001, 0xDB8, 1, 2, 3, 0, 0, 4}
      assert ip("2001:db8:1:2ff::", @trust ++ [v6: 56]) == {0x2001, 0xDB8, 1, 0x200, 0, 0, 0, 0}
      mapped = {0, 0, 0, 0, 0, 0xFFFF, 0x0A00, 1}
      assert ip("203.0.113.7", @trust, mapped) == @client
    end

    test "an entry that is no address ends the list" do
      for bad <- [
            "",
            "unknown",
            "_hidden",
            "1.2.3",
            "010.0.0.1",
            "0x7f.1.1.1",
            "256.1.1.1",
            "1.2.3.4:99999999",
            "1.2.3.4:x",
            "fe80::1%eth0",
            "[::1",
            "[1.2.3.4]",
            "[::1]x",
            "::1]",
            "1.2.3.4 5.6.7.8",
            <<0xFF, 0xFE>>,
            String.duplicate("1", 10_000)
          ],
          options <- [@trust, @trust ++ [hops: 2]] do
        assert ip("198.51.100.1, #{bad}", options) == @proxy, inspect(bad)
      end
    end

    test "reads Forwarded from the right, so that no quote of a client hides what a proxy appends" do
      options = @trust ++ [header: "forwarded"]
      forwarded = &HTTP.client_ip([{"forwarded", &1}], @proxy, options)

      assert forwarded.("for=203.0.113.7;proto=https") == @client
      assert forwarded.(~s(For="203.0.113.7:47011";by=10.0.0.1)) == @client

      assert forwarded.(~s(for="[2001:db8:cafe::17]:4711")) ==
               {0x2001, 0xDB8, 0xCAFE, 0, 0, 0, 0, 0}

      assert forwarded.(~s(for=198.51.100.1, for="203.0.113.7";host="a,b;for=1.2.3.4")) == @client
      assert forwarded.(~s(for="198.51.100.1, for=203.0.113.7)) == @client

      assert forwarded.(~S(for=203.0.113.7;host="x\", for=198.51.100.1;y=\"")) == @client

      for bad <- ["for=", "host=a", ~s(for="), "for=1.1.1.1;for=2.2.2.2", "for=_x", "=", ";;,"],
          do: assert(forwarded.(bad) == @proxy, bad)
    end

    test "a Unix socket is trusted by name only" do
      for peer <- [:local, {:local, "/run/app.sock"}] do
        assert ip("203.0.113.7", @trust, peer) == :local
        assert ip("203.0.113.7", [trust: [:local]], peer) == @client
        assert HTTP.client_ip([], peer, trust: [:local]) == :local
      end
    end

    test ":private is loopback, private and link-local networks" do
      for peer <- [{127, 0, 0, 1}, {172, 31, 0, 1}, {0xFD00, 0, 0, 0, 0, 0, 0, 1}],
          do: assert(ip("203.0.113.7", [trust: [:private]], peer) == @client)

      assert ip("203.0.113.7", [trust: [:private]], {172, 32, 0, 1}) == {172, 32, 0, 1}
    end

    test "whatever a client sends, the proxies' words count, and nothing raises" do
      :rand.seed(:exsss, {1, 2, 3})

      pieces =
        ~w(198.51.100.1 10.0.0.9 ::1 for= for=1.1.1.1 [ ] " \\ \\" ; , : % unknown =) ++ [" "]

      for _ <- 1..5_000 do
        junk =
          for _ <- 1..:rand.uniform(12), into: "" do
            if :rand.uniform(5) == 1,
              do: :crypto.strong_rand_bytes(:rand.uniform(4)),
              else: Enum.random(pieces)
          end

        {header, own} =
          Enum.random([{"x-forwarded-for", ""}, {"forwarded", "for="}, {"x-client", ""}])

        lines =
          if :rand.uniform(2) == 1,
            do: [{header, junk}, {header, own <> "203.0.113.7"}],
            else: [{header, junk <> ", " <> own <> "203.0.113.7"}]

        for options <- [@trust, @trust ++ [hops: 1]] do
          options = [header: header] ++ options
          assert HTTP.client_ip(lines, @proxy, options) == @client, inspect(lines)
          # From a peer that is not trusted, and alone.
          assert HTTP.client_ip(lines, {192, 0, 2, 1}, options) == {192, 0, 2, 1}
          assert is_tuple(HTTP.client_ip([{header, junk}], @proxy, options))
        end
      end
    end

    test "reports invalid options" do
      for options <- [
            [trust: "10.0.0.0/8"],
            [trust: ["10.0.0.1/8"]],
            [trust: ["10.0.0.0/33"]],
            [trust: ["10.0.0.0/"]],
            [trust: [:all]],
            [trust: ["example.org"]],
            [hops: 0],
            [hops: "1"],
            [v6: 47],
            [v6: 129],
            [header: :forwarded],
            [trusted: []]
          ],
          do: assert_raise(ArgumentError, fn -> HTTP.client_ip([], @proxy, options) end)

      # No peer is trusted by default, so the header would never be read.
      for options <- [[hops: 1], [header: "cf-connecting-ip"]] do
        assert_raise ArgumentError, ~r/^(hops|header): .* trust: \[:private\]/, fn ->
          HTTP.client_ip([], @proxy, options)
        end
      end

      for peer <- [nil, "x", {1, 2, 3}, {1, 2, 3, 256}, {}],
          do: assert_raise(ArgumentError, ~r/peer/, fn -> HTTP.client_ip([], peer, @trust) end)
    end
  end

  describe "prefix/2" do
    test "walking a network gives one id, and an error is a value" do
      ids = for host <- 1..1_000, do: HTTP.prefix({0x2001, 0xDB8, 1, 2, 0, 0, 7, host})
      assert Enum.uniq(ids) == [{:ok, {0x2001, 0xDB8, 1, 2, 0, 0, 0, 0}}]

      for bad <- [nil, "", "::g", {1, 2}, {-1, 0, 0, 0}, {1.0, 0, 0, 0}, 7, "1.2.3.4:80"],
          do: assert(HTTP.prefix(bad) == {:error, :invalid_address})

      assert_raise ArgumentError, fn -> HTTP.prefix("::1", v6: 32) end
    end
  end
end
