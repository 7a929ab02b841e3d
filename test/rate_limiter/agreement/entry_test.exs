defmodule RateLimiter.Agreement.EntryTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories

  alias RateLimiter.Adaptive.{ClosedLoop, Decision, Signals, Standard}
  alias RateLimiter.Agreement
  alias RateLimiter.Agreement.{Entry, Heartbeat}

  defp entry(state, decision \\ %Decision{scale: 0.5, from: 0.6}) do
    facts = %{at_ms: 1_000, by: "shop@db1", nodes: 3}
    Entry.next(nil, 7, facts, {state, decision})
  end

  defp unknown_atom, do: "unknown_#{System.unique_integer([:positive])}_atom"

  # Replaces an atom in the bytes of a term by an unknown one of the same length.
  defp foreign(bytes, atom) do
    name = Atom.to_string(atom)
    String.replace(bytes, name, String.duplicate("z", byte_size(name)))
  end

  for law <- [ClosedLoop, Signals, Standard] do
    @law law

    test "#{inspect(law)}: any state and decision are read as they were written, and the next step is the same" do
      for_all seed, 40 do
        {state, decision, now} =
          for observation <- history(seed, rem(seed, 30) + 1),
              reduce: {@law.new(floor: 0.2), nil, 0} do
            {state, _decision, now} ->
              now = now + 1_000
              {state, decision} = @law.step(state, observation, now)
              {state, decision, now}
          end

        written = entry(state, decision)
        assert {:ok, ^written} = Entry.read(Entry.write(written))
        {:ok, read} = Entry.read(Entry.write(written))

        next = observation()

        assert @law.step(elem(read.state, 1), next, now + 1_000) ==
                 @law.step(state, next, now + 1_000)
      end
    end
  end

  test "an entry has the last epoch with a cut" do
    facts = %{at_ms: 1, by: "n", nodes: 1}
    cut = Entry.next(nil, 3, facts, {nil, %Decision{scale: 0.5, action: :cut}})
    assert cut.cut_epoch == 3
    assert Entry.next(cut, 4, facts, {nil, %Decision{scale: 0.6, action: :grow}}).cut_epoch == 3
  end

  test "the decision is readable even if the state contains an unknown atom" do
    bytes = Entry.write(entry(%{held: :record_test_only_here}))

    assert {:ok, %Entry{state: :unreadable, decision: %{scale: 0.5}, by: "shop@db1"}} =
             Entry.read(foreign(bytes, :record_test_only_here))
  end

  test "a source with an unknown atom is replaced by its text" do
    decision = %Decision{scale: 0.5, binding: {:pain, :record_test_other_source}}
    bytes = Entry.write(entry(nil, decision))
    # The text contains the name, too, and stays.
    [head | tail] = String.split(bytes, "{:pain, :record_test_other_source}")

    bytes =
      Enum.join(
        [foreign(head, :record_test_other_source) | tail],
        "{:pain, :record_test_other_source}"
      )

    assert {:ok, %Entry{decision: %{binding: "{:pain, :record_test_other_source}"}}} =
             Entry.read(bytes)
  end

  test "invalid bytes are an error" do
    good = Entry.write(entry(nil))

    bad =
      [
        "",
        "OK",
        nil,
        7,
        Agreement.encode({1, 2}),
        Agreement.encode({2, 7, 1_000, "n", 3, 0, nil, <<>>}),
        Agreement.encode({1, 0, 1_000, "n", 3, 0, nil, <<>>}),
        :erlang.term_to_binary(List.duplicate(0, 1_000_000), [:compressed]),
        binary_part(good, 0, div(byte_size(good), 2))
      ] ++
        for(
          fields <- [[scale: -1.0], [scale: :much], [guard: 0], [color: 1], [:scale]],
          do: crooked(fields)
        )

    for bytes <- bad, do: assert(Entry.read(bytes) == :error)
  end

  test "decoding creates no atom" do
    name = unknown_atom()
    # 119: a short atom.
    bytes = <<131, 119, byte_size(name)>> <> name
    assert Agreement.decode(bytes) == :error
    assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
  end

  defp crooked(fields) do
    decision = {Agreement.encode(nil), "nil", fields}
    Agreement.encode({1, 7, 1_000, "n", 3, 0, decision, Agreement.encode(nil)})
  end

  describe "a heartbeat" do
    test "is read as it was written, whatever its sources" do
      heartbeat = %Heartbeat{
        node: "n",
        group: "g",
        scale: 0.7,
        in_flight: 12,
        pain: %{:warehouse => 0.5, {:child, :s1} => 0.25, "a" => 1.0},
        pleasure: %{probe: 0.125}
      }

      assert Heartbeat.read(Heartbeat.write(heartbeat)) == {:ok, heartbeat}
    end

    test "has a bounded size: the strongest sources, and the text of long ones" do
      pain = Map.new(1..200, &{{:source, &1, String.duplicate("x", 1_000)}, &1 / 200})
      bytes = Heartbeat.write(%Heartbeat{node: "n", group: "g", scale: 1.0, pain: pain})
      assert byte_size(bytes) < 5_000
      {:ok, %{pain: read}} = Heartbeat.read(bytes)
      assert read |> Map.values() |> Enum.max() == 1.0
      assert Enum.all?(Map.keys(read), &(is_binary(&1) and String.length(&1) <= 80))
    end

    test "with invalid bytes is an error" do
      for bad <- [
            "",
            "x",
            Agreement.encode({1, "n", "g", 1.0, -1, [], []}),
            Agreement.encode({1, "n", "g", 1.0, 1, [{"", "a", 2.0}], []})
          ],
          do: assert(Heartbeat.read(bad) == :error)
    end
  end
end
