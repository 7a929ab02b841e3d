defmodule RateLimiter.Store.Conformance do
  @moduledoc """
  The tests that every `RateLimiter.Store` has to pass.

      defmodule MyApp.LimitStoreTest do
        use ExUnit.Case
        use RateLimiter.Store.Conformance, store: {MyApp.LimitStore, table: "limits"}
      end

  `store:` has the module and the options of `c:RateLimiter.Store.init/1`. Each test opens the store, and has keys of its own. The tests

    * play the cases that Redis and the memory of a node answer, too, with times of their own;
    * call `c:RateLimiter.Store.update/3` from many processes at once, and count what they admit;
    * check what the behaviour says of values, keys, replies and functions that raise.
  """

  alias RateLimiter.Core.{Limit, Native}
  alias RateLimiter.Store.Vectors

  @file_name Path.expand("../../../test/vectors/derived.txt", __DIR__)
  @external_resource @file_name
  @vectors Vectors.cases(@file_name)

  # Far more than a store needs for a call, also on a busy machine.
  @patience_ms 60_000

  @doc false
  defmacro __using__(options) do
    tests =
      for {name, index} <- Enum.with_index(names()) do
        quote do
          test "store: " <> unquote(name) do
            RateLimiter.Store.Conformance.run(unquote(index), unquote(options)[:store])
          end
        end
      end

    quote(do: (unquote_splicing(tests)))
  end

  @contract [
    {"a key has no value, then the one that was stored, then none", :values},
    {"keys and values are any bytes, and keys do not affect each other", :bytes},
    {"a value stays for as long as it was stored for", :keeps},
    {"a function that raises changes nothing", :raises},
    {"many processes at once admit no more than the limit", :races},
    {"many keys are updated at once, each as if alone", :many},
    {"the clock of the store is in microseconds since 1970", :clock}
  ]

  @doc false
  @spec names() :: [String.t()]
  def names,
    do: Enum.map(@contract, &elem(&1, 0)) ++ Enum.map(@vectors, &"answers that #{&1.title}")

  @doc false
  @spec run(non_neg_integer, {module, keyword}) :: :ok
  def run(index, {module, options}) do
    {:ok, state} = module.init(options)
    store = {module, state}

    try do
      case Enum.at(@contract, index) do
        {_name, check} -> check(check, store)
        nil -> play(Enum.at(@vectors, index - length(@contract)), store)
      end
    after
      if function_exported?(module, :close, 1), do: module.close(state)
    end

    :ok
  end

  defp check(:values, store) do
    key = key("values")
    expect(nil, put(store, key, "one"))
    expect("one", put(store, key, "two"))
    expect("two", update(store, key, fn value, reply -> {{:keep, reply}, value} end))
    expect("two", update(store, key, fn value, reply -> {{:delete, reply}, value} end))
    expect(nil, value(store, key))
    expect(nil, update(store, key, fn value, reply -> {{:keep, reply}, value} end))
    expect(nil, value(store, key))
  end

  defp check(:bytes, store) do
    bytes = for byte <- 0..255, into: <<>>, do: <<byte>>
    keys = for part <- ["", "a", "A", "a ", "é", "%", "_", "'", "a:b", "{a}"], do: key(part)
    for key <- keys, do: expect(nil, put(store, key, key <> bytes))
    for key <- keys, do: expect(key <> bytes, value(store, key))
    large = String.duplicate(bytes, 256)
    put(store, hd(keys), large)
    expect(large, value(store, hd(keys)))
  end

  defp check(:keeps, store) do
    key = key("keeps")
    put(store, key, "kept", 1_000)
    expect("kept", value(store, key))
    put(store, key, "for long", 30 * 24 * 3_600_000)
    expect("for long", value(store, key))
  end

  defp check(:raises, store) do
    key = key("raises")
    put(store, key, "before")

    try do
      update(store, key, fn _value, _reply -> raise "no decision" end)
    catch
      _kind, _reason -> :ok
    end

    expect("before", value(store, key))
    expect("before", put(store, key, "after"))
  end

  defp check(:races, store) do
    limit = 100
    windows = [native({:w, [limit: limit, per: :day]})]
    key = key("races")

    admitted =
      1..32
      |> Task.async_stream(
        fn _process -> Enum.count(1..20, fn _call -> admitted?(store, key, windows) end) end,
        max_concurrency: 32,
        timeout: @patience_ms
      )
      |> Enum.reduce(0, fn {:ok, count}, sum -> sum + count end)

    expect(limit, admitted)
  end

  defp check(:many, {module, state} = store) do
    if function_exported?(module, :update_many, 3) do
      keys = for number <- 1..20, do: key("many #{number}")
      put(store, hd(keys), "known")
      replies = Map.new(keys, &{&1, make_ref()})

      change = fn key, present ->
        if bare(present) == "known",
          do: {:keep, replies[key]},
          else: {:put, key, @patience_ms, replies[key]}
      end

      expect(Enum.map(keys, &{:ok, replies[&1]}), module.update_many(state, keys, change))
      expect(["known" | tl(keys)], Enum.map(keys, &value(store, &1)))
    end
  end

  # That of a node and that of a server differ by less, where limits can be kept at all.
  defp check(:clock, {module, state}) do
    if function_exported?(module, :now, 1) do
      apart_ms = abs(module.now(state) - System.os_time(:microsecond)) / 1_000
      expect(true, apart_ms < @patience_ms)
      expect(true, module.now(state) <= module.now(state))
    end
  end

  defp admitted?(store, key, windows) do
    [{_max, _remaining, _next, _reset, retry}] =
      ask(store, key, windows, {:take, 1, 1_000_000}, nil)

    retry == 0
  end

  ## The cases

  defp play(%{start: start, windows: windows, steps: steps}, store) do
    # Several ids, each with a key of its own.
    prefix = key("case")
    windows = for {name, options} <- windows, do: {name, options}

    Enum.reduce(steps, {windows, 1_000_000}, fn {line, at_ms, call, expected}, {windows, scale} ->
      at = (start + at_ms) * 1_000

      case call do
        ["update_limit", window | options] ->
          {change(windows, Vectors.atom(window), Vectors.options(options)), scale}

        ["set_scale", ppm] ->
          {windows, String.to_integer(ppm)}

        [op, id, names | cost] ->
          asked = Keyword.take(windows, Vectors.windows(names))
          call = {op(op), cost |> List.first("0") |> String.to_integer(), scale}
          usages = ask(store, prefix <> id, Enum.map(asked, &native/1), call, at)
          unless op == "reset", do: expect(expected, words(asked, usages), " in line #{line}")
          {windows, scale}
      end
    end)
  end

  defp op("check"), do: :take
  defp op(name), do: String.to_existing_atom(name)

  defp change(windows, name, changes) do
    Keyword.update!(windows, name, fn options ->
      # A bucket's burst follows its limit unless it is given.
      options |> Keyword.drop([:burst]) |> Keyword.merge(changes)
    end)
  end

  defp words(asked, usages) do
    rows = Enum.zip(Keyword.keys(asked), usages)
    denied = for {_name, {_, _, _, _, retry}} = row when retry != 0 <- rows, do: row

    # The longest wait, or the least left; the first of equals. An atom is greater than any number.
    {verdict, {binding, _usage}} =
      if denied == [],
        do: {"allowed", Enum.min_by(rows, fn {_name, usage} -> elem(usage, 1) end)},
        else: {"denied", Enum.max_by(denied, fn {_name, usage} -> elem(usage, 4) end)}

    rows = for {name, usage} <- rows, do: Enum.join([name | Tuple.to_list(usage)], ":")
    [verdict, to_string(binding) | rows]
  end

  defp native({name, options}), do: Limit.to_native({name, Limit.new!(options, [name])})

  ## One update

  defp ask({module, state}, key, windows, call, now_us) do
    calls = Native.store_calls(key, windows, call)

    {:ok, reply} =
      module.update(state, key, &Native.store_decide(calls, bare(&1), now_us || time(&1)))

    case Native.store_usages(reply) do
      :foreign -> raise "expected the value that was stored, got: another one"
      usages -> usages
    end
  end

  defp put(store, key, value, ttl_ms \\ @patience_ms),
    do: update(store, key, fn before, reply -> {{:put, value, ttl_ms, reply}, before} end)

  defp value(store, key), do: update(store, key, fn value, reply -> {{:keep, reply}, value} end)

  # Returns what the last run of the function has returned beside its decision.
  defp update({module, state}, key, change) do
    replies = :ets.new(:replies, [:public])

    result =
      module.update(state, key, fn present ->
        reply = make_ref()
        {decision, returned} = change.(bare(present), reply)
        :ets.insert(replies, {reply, returned})
        decision
      end)

    with {:ok, reply} <- result,
         [{^reply, returned}] <- :ets.lookup(replies, reply) do
      returned
    else
      _other ->
        raise "expected {:ok, reply} with the reply of the function, got: #{inspect(result)}"
    end
  end

  defp bare({value, _now_us}), do: value
  defp bare(value), do: value

  defp time({_value, now_us}), do: now_us
  defp time(_value), do: nil

  defp key(part), do: "conformance:#{inspect(make_ref())}:#{System.os_time()}:#{part}"

  defp expect(expected, got, where \\ "") do
    if expected != got do
      raise "expected #{inspect(expected, limit: 20, printable_limit: 100)}, " <>
              "got: #{inspect(got, limit: 20, printable_limit: 100)}#{where}"
    end
  end
end
