defmodule RateLimiter.AdaptiveTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive
  alias RateLimiter.Adaptive.{ClosedLoop, Fixed, Observation, Signals, Standard}

  describe "validate!/2" do
    @all [:scale, :floor, :ceiling, :target]

    test "returns the options that a law keeps, with their defaults" do
      assert [] |> Adaptive.validate!(@all) |> Enum.sort() == [ceiling: 1.0, floor: 0.1]
      assert Adaptive.validate!([], [:floor]) == [floor: 0.1]
      assert Adaptive.validate!([target: 30, scale: nil], [:target, :scale]) == [target: 30]
    end

    test "keeps the scale between floor and ceiling" do
      for {scale, kept} <- [{0.1, 0.3}, {0.5, 0.5}, {3, 2}],
          do:
            assert(
              Adaptive.validate!([scale: scale, floor: 0.3, ceiling: 2], [:scale]) == [
                scale: kept
              ]
            )
    end

    test "raises for a floor above the ceiling, for other options and for other values" do
      assert Adaptive.validate!([floor: 0.5, ceiling: 0.5], [:floor]) == [floor: 0.5]

      for {options, message} <- [
            {[floor: 0.6, ceiling: 0.5],
             "law.floor: expected at most the ceiling, 0.5, got: 0.6"},
            {[floor: nil], "law.floor: expected a positive number, got: nil"},
            {[target: "20"], "law.target: expected a positive number or nil, got: \"20\""},
            {[speed: 1], ~r/^law: unknown option :speed/}
          ],
          do: assert_raise(ArgumentError, message, fn -> Adaptive.validate!(options, @all) end)
    end
  end

  test "positive?/1 is true for numbers above 0 that a law can calculate with" do
    for value <- [1, 0.001, 1.0e15], do: assert(Adaptive.positive?(value))
    for value <- [0, 0.0, -1, 1.1e15, nil, "1"], do: refute(Adaptive.positive?(value))
  end

  describe "the module's documentation" do
    setup do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Adaptive)
      %{text: text}
    end

    test "has a law that works", %{text: text} do
      [code] = Regex.run(~r/^    defmodule.*?^    end$/ms, text)
      [{law, _binary}] = Code.compile_string(code)
      by_day = %Observation{}
      by_night = %Observation{signals: %{night: true}}
      assert {state, %{scale: 1.0}} = law.step(law.new([]), by_day, 0)
      assert {_state, %{scale: 0.5}} = law.step(state, by_night, 0)
      assert {_state, %{scale: 0.2}} = law.step(law.new(share: 0.2), by_night, 0)
    end

    test "names every built-in law", %{text: text} do
      for law <- [ClosedLoop, Fixed, Signals, Standard] do
        assert text =~ "`#{inspect(law)}` - "
        assert Adaptive in Keyword.get(law.module_info(:attributes), :behaviour, [])
      end
    end
  end
end
