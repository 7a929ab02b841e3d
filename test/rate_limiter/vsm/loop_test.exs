defmodule RateLimiter.VSM.LoopTest do
  # The standard law from the gate to the limit.
  use ExUnit.Case, async: true

  alias RateLimiter.{Algedonic, Test, VSM}
  alias RateLimiter.VSM.Tree

  setup do
    Test.start(vsm: [subsystems: [work: [limit: 100, per: :second, target: 100]]])
  end

  defp metrics, do: VSM.subsystem_metrics().work

  # A second of a resource with this capacity and duration. Above the capacity, calls take longer.
  defp second(capacity, ms) do
    gate = Tree.subsystem!(RateLimiter, :work).gate

    admitted =
      for(_ <- 1..150, do: VSM.check_subsystem_limit(:work, "a"))
      |> Enum.count(&match?({:ok, _}, &1))

    slow = if admitted > capacity, do: ms * admitted / capacity * 4, else: ms
    for _ <- 1..min(admitted, capacity)//1, do: VSM.Gate.record(gate, :ok, round(slow * 1_000))
    Test.advance(:second)
  end

  test "a queue of reported work lowers the limit to the capacity and sets a guard, and the limit recovers" do
    for _ <- 1..20, do: second(100, 10)
    assert %{scale: 1.0} = metrics()

    for _ <- 1..20, do: second(50, 10)
    assert %{scale: scale, guard: guard, own_scale: scale} = metrics()
    assert scale < 0.65 and scale >= 0.1
    assert is_integer(guard)

    assert Enum.any?(
             VSM.explain(:work),
             &(&1.action == :cut and &1.binding == :queue and &1.sentence =~ "queue")
           )

    for _ <- 1..60, do: second(100, 10)
    assert metrics().scale > 0.95
    assert Enum.any?(VSM.explain(:work), &(&1.action == :grow))
  end

  test "pain lowers the limit while it lasts, and pleasure raises it again" do
    for _ <- 1..5, do: Algedonic.pain(:work, 0.7, source: :probe) && Test.advance(:second)
    assert %{scale: low, binding: {:pain, :probe}} = metrics()
    assert low < 0.6
    Test.advance(10_000)
    for _ <- 1..30, do: Algedonic.pleasure(:work, 1.0, source: :probe) && Test.advance(:second)
    assert metrics().scale == 1.0
  end

  test "urgent steps do not overestimate the demand" do
    for _ <- 1..20 do
      for _ <- 1..40, do: VSM.check_subsystem_limit(:work, "a")
      Algedonic.pain(:work, 0.95, source: :probe)
      Test.advance(:second)
    end

    assert_in_delta metrics().demand, 40, 20
  end

  test "a subsystem without calls returns to its limit" do
    for _ <- 1..5, do: Algedonic.pain(:work, 0.7, source: :probe) && Test.advance(:second)
    assert metrics().scale < 0.6
    Test.advance({3, :minute})
    assert metrics().scale == 1.0
  end

  test "denials are not pain: a limit that is always used up stays unchanged" do
    for _ <- 1..30 do
      for _ <- 1..500, do: VSM.run(:work, "a", fn -> :ok end)
      Test.advance(:second)
    end

    assert %{scale: 1.0, stress: stress, denied: denied} = metrics()
    assert stress == 0.0 and denied > 10_000
  end
end
