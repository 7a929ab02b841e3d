defmodule RateLimiter.Plug.OptionsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Plug.Options

  # Functions of the connection, of the connection and an answer, and of three arguments, which no option takes.
  defp of_conn(_conn), do: :called
  defp refuse(_conn, _answer), do: :refused
  defp three(_one, _two, _three), do: :called

  defp new!(options), do: Options.new!(options, &refuse/2)

  test "new!/2 has a default for every option but the limiter" do
    assert %{
             limiter: :api,
             windows: [],
             id: nil,
             cost: 1,
             plan: nil,
             skip: nil,
             charge: :request,
             on_deny: refuse,
             on_unavailable: refuse,
             fields: [],
             address: address
           } = new!(limiter: :api)

    assert refuse == (&refuse/2)
    assert address == RateLimiter.HTTP.Address.options!([])
    assert_raise ArgumentError, ~r/^limiter: is required/, fn -> new!([]) end
  end

  test "new!/2 takes values and functions of the connection" do
    fun = &of_conn/1

    for {option, values} <- [
          windows: [:hour, [:hour, :day], [], fun],
          id: [fun, nil],
          cost: [0, 7, fun],
          plan: [:pro, "pro", [hour: [limit: 5]], fun, nil],
          skip: [fun, nil],
          charge: [:request, {:response, fun}]
        ],
        value <- values,
        do: assert(Map.fetch!(new!([{option, value}, limiter: :api]), option) == value)
  end

  test "new!/2 answers an unavailable call as a denied one, unless it is told otherwise" do
    own = &{&1, &2}
    assert %{on_deny: ^own, on_unavailable: ^own} = new!(limiter: :api, on_deny: own)
    options = new!(limiter: :api, on_unavailable: :allow)
    assert {options.on_deny, options.on_unavailable} == {&refuse/2, :allow}
    options = new!(limiter: :api, on_unavailable: own)
    assert {options.on_deny, options.on_unavailable} == {&refuse/2, own}
  end

  test "new!/2 separates the options of header fields and of the address, and checks them" do
    options = new!(limiter: :api, format: :draft_6, jitter: 3, trust: [:private], v6: 56)
    assert options.fields == [format: :draft_6, jitter: 3]
    assert options.address == RateLimiter.HTTP.Address.options!(trust: [:private], v6: 56)
    for key <- [:format, :jitter, :trust, :v6], do: refute(is_map_key(options, key))

    for wrong <- [
          [format: :none_such],
          [jitter: -1],
          [trust: ["x"]],
          [v6: 1],
          [hops: 0],
          [header: 1]
        ] do
      assert_raise ArgumentError, fn -> new!([limiter: :api] ++ wrong) end
    end
  end

  test "new!/2 raises for every other value, and says what it expects" do
    for {option, values, expected} <- [
          {:limiter, ["api", 1], "an atom"},
          {:windows, ["hour", 1, &three/3],
           "a window, a list of windows, or a function of the connection"},
          {:id, ["ann", :ann, &refuse/2], "a function of the connection"},
          {:cost, [1.0, nil, &refuse/2], "an integer or a function of the connection"},
          {:skip, [true, &refuse/2], "a function of the connection"},
          {:charge, [:response, {:response, &refuse/2}, &of_conn/1],
           ":request or {:response, a function of the connection}"},
          {:on_deny, [:allow, &of_conn/1], "a function of the connection and the answer"},
          {:on_unavailable, [:deny, &of_conn/1], ":allow or a function as on_deny:"}
        ],
        value <- values do
      error =
        assert_raise ArgumentError, fn ->
          new!(Keyword.merge([limiter: :api], [{option, value}]))
        end

      assert error.message =~ "#{option}: expected #{expected}, got: "
    end

    assert_raise ArgumentError, ~r/unknown option :limit/, fn -> new!(limiter: :api, limit: 1) end
    assert_raise ArgumentError, ~r/keyword list/, fn -> new!(:api) end
  end

  test "docs/0 names every option of the plug's own" do
    own = Map.keys(new!(limiter: :api)) -- [:fields, :address]
    for option <- own, do: assert(Options.docs() =~ "* `#{inspect(option)}` - ")
  end
end
