defmodule RateLimiter.Signals.ContainmentTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{Algedonic, Test, VSM}
  alias RateLimiter.Support.ScriptedLaw

  setup %{test: key} do
    law = ScriptedLaw.options(self(), key: key)
    Test.start(vsm: [subsystems: [low: [limit: 50, per: :second, law: law]]])
    %{key: key}
  end

  defp pain(level, source \\ :probe), do: Algedonic.pain(:low, level, source: source)
  defp contained, do: VSM.subsystem_metrics().low.contained
  defp again(seconds, fun), do: for(_ <- 1..seconds, do: {fun.(), Test.advance(:second)})

  defp work(ms), do: for(_ <- 1..12, do: VSM.run(:low, "a", fn -> Test.advance(ms) end))

  # The last observation of the law.
  defp observed(%{key: key} = context, last \\ nil) do
    receive do
      {:step, ^key, observation, _now} -> observed(context, observation)
    after
      0 -> last
    end
  end

  describe "a source that reports great pain without end" do
    test "may hold the scale, but not lower it, until it reports less", context do
      again(31, fn -> pain(1.0) end)
      assert %{pain: %{probe: held}} = observed(context)
      assert_in_delta held, 0.13, 1.0e-9
      assert contained() == [:probe]

      assert [%{held_by: {:contained, :probe}, binding: {:pain, :probe}, sentence: sentence}] =
               VSM.explain(:low)

      assert sentence ==
               ":probe has reported pain of 0.9 or more for 30.0 s: it may hold the scale at 1.0, but no longer lower it."

      pain(0.6)
      Test.advance(:second)
      assert %{pain: %{probe: level}} = observed(context)
      assert level > 0.5
      assert contained() == []
    end

    test "is ignored if another source reports no pain", context do
      again(31, fn ->
        pain(1.0)
        pain(0.0, :sane)
      end)

      assert %{pain: none} = observed(context)
      assert none == %{}
      assert [%{sentence: sentence}] = VSM.explain(:low)

      assert sentence =~
               "it is ignored until it reports less than 0.7, because all other signals are healthy"
    end

    test "is ignored if reported work goes well", context do
      again(3, fn -> work(2) end)

      again(35, fn ->
        pain(1.0)
        work(2)
      end)

      assert %{pain: none} = observed(context)
      assert none == %{}
      assert contained() == [:probe]
    end

    test "still holds the scale if reported work is slow", context do
      again(3, fn -> work(2) end)

      again(35, fn ->
        pain(1.0)
        work(20)
      end)

      assert %{pain: %{probe: held}} = observed(context)
      assert_in_delta held, 0.13, 1.0e-9
    end

    test "is contained although its level wavers around 0.9" do
      again(40, fn -> pain(Enum.random([0.72, 0.95])) end)
      assert contained() == [:probe]
    end

    test "does not affect the other sources of its subsystem", context do
      again(31, fn ->
        pain(1.0)
        pain(0.5, :real)
      end)

      assert %{pain: %{probe: held, real: level}} = observed(context)
      assert held < 0.14 and level > 0.4
    end
  end
end
