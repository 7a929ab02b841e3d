defmodule RateLimiter.Top.PageTest do
  # Not async: the picture shows the whole node.
  use ExUnit.Case, async: false

  alias RateLimiter.Terminal.Text
  alias RateLimiter.Top.{Page, Snapshot}
  alias RateLimiter.VSM

  @screen %{color: false, unicode: true}

  setup do: RateLimiter.Support.Shown.start()

  defp page(now, before), do: now |> Page.render(before, @screen) |> IO.iodata_to_binary()

  test "the picture shows the rates of each limiter and subsystem" do
    before = Snapshot.take()
    for _ <- 1..10, do: RateLimiter.check_and_track(:top_shown, "a", :burst)
    for _ <- 1..12, do: VSM.check_subsystem_limit(:work, "a", instance: :top_shown)
    now = %{Snapshot.take() | at_ms: before.at_ms + 1_000}
    page = page(now, before)

    assert page =~ ~r/^── :top_shown ─+$/mu
    assert page =~ ~r/^local, 1 id, \d+ KB$/mu
    assert page =~ ~r/^top_shown +10 +7 +1  burst 3\/d, slow 1000\/d$/mu
    assert page =~ ~r/^work +10\/min +██████ 100 % +- +12 +2 +0 +0$/mu
    assert page =~ ~r/^  dry run: would be 100 %$/mu
  end

  test "a subsystem shows its last sentence, its guard, its gate and its containments" do
    now = Snapshot.take()
    [instance] = Enum.filter(now.instances, &(&1.name == ":top_shown"))
    [work | _] = instance.subsystems

    sick = %{
      work
      | scale: 0.42,
        stress: 0.73,
        sentence: "cut 0.60 -> 0.42: calls wait 80 ms",
        guard: 7,
        in_flight: 6,
        open: 0.5,
        contained: [:probe],
        agreement: %{state: :alone, epoch: 7, nodes: 1, by: "shop@db1"}
    }

    sensors = %{
      memory: %{value: 0.5, stress: 0.0, no_opinion: nil},
      pool: %{value: nil, stress: nil, no_opinion: "gone"},
      run_queue: %{value: 2, stress: 0.0, no_opinion: nil},
      timer: %{value: 3.5, stress: 0.0, no_opinion: nil}
    }

    page = page(%{now | instances: [%{instance | subsystems: [sick], sensors: sensors}]}, now)

    assert page =~ ~r/^work +10\/min +██▌ +42 % +0\.73 +0 +0 +0 +6 of 7$/mu

    assert page =~
             "  cut 0.60 -> 0.42: calls wait 80 ms\n  alone: this node decides by its own signals\n  the gate of this node admits 50 %, and sheds 50 %\n  :probe is contained\n"

    assert page =~
             "sensors  memory 50 %   pool no opinion   run_queue 2 per scheduler"

    assert page =~ "\n         timer 3.5 ms\n"
  end

  test "the history of an instance shows its spikes, in the width of the terminal" do
    now = Snapshot.take()
    rates = [{10, 0}, {80, 2}, {0, 0}] ++ List.duplicate({10, 0}, 57)

    shown = fn rates, columns ->
      screen = Map.put(@screen, :columns, columns)
      now |> Page.render(now, screen, %{":top_shown" => rates}) |> IO.iodata_to_binary()
    end

    page = shown.(rates, 100)
    assert page =~ ~r/^calls\/s   ▁{57}·█▁  most 80$/mu
    assert page =~ ~r/^denied\/s  ·{58}█·  most 2$/mu

    for line <- String.split(shown.(rates, 80), "\n"), do: assert(Text.width(line) <= 80, line)
    refute shown.([{10, 0}], 80) =~ ~r/^calls\/s/m
  end

  test "an instance that has just started has no rates" do
    now = Snapshot.take()
    assert page(now, %{now | instances: []}) =~ ~r/^top_shown +- +- +0/mu
  end

  test "a node without instances says so" do
    assert page(%{Snapshot.take() | instances: []}, %{Snapshot.take() | instances: []}) =~
             "no instance of RateLimiter is running"
  end

  test "the picture fits 80 columns, and has no colour without a terminal" do
    now = Snapshot.take()
    for line <- String.split(page(now, now), "\n"), do: assert(Text.width(line) <= 80, line)
    refute page(now, now) =~ "\e"
  end

  test "what the gate sheds has a column of its own" do
    before = Snapshot.take()
    [instance] = Enum.filter(before.instances, &(&1.name == ":top_shown"))
    [work | _] = instance.subsystems
    shed = %{work | asked: work.asked + 100, shed: work.shed + 90, open: 0.1}
    now = %{before | at_ms: before.at_ms + 1_000}
    page = page(%{now | instances: [%{instance | subsystems: [shed]}]}, before)
    assert page =~ ~r/^work +10\/min +██████ 100 % +- +100 +0 +90 +0$/mu
    assert page =~ "the gate of this node admits 10 %, and sheds 90 %"
  end

  test "the most denied limiters come first, then names with numbers in order" do
    now = Snapshot.take()
    [instance] = Enum.filter(now.instances, &(&1.name == ":top_shown"))
    [limiter] = instance.limiters

    limiters =
      for {name, denials} <- [tenant_10: 0, tenant_2: 0, tenant_19: 5],
          do: %{limiter | name: name, denials: denials}

    before = %{instance | limiters: for(limiter <- limiters, do: %{limiter | denials: 0})}

    page =
      page(%{now | instances: [%{instance | limiters: limiters}]}, %{now | instances: [before]})

    assert ["tenant_19", "tenant_2", "tenant_10"] =
             Regex.scan(~r/^tenant_\d+/m, page) |> List.flatten()
  end

  test "the picture uses the width of the terminal, and no line is wider" do
    now = Snapshot.take()
    [instance] = Enum.filter(now.instances, &(&1.name == ":top_shown"))
    [limiter] = instance.limiters
    name = String.duplicate("a_long_name_", 5)
    now = %{now | instances: [%{instance | limiters: [%{limiter | name: name}]}]}

    for columns <- [80, 100, 132, 200] do
      page = now |> Page.render(now, Map.put(@screen, :columns, columns)) |> IO.iodata_to_binary()
      for line <- String.split(page, "\n"), do: assert(Text.width(line) <= columns, line)
      assert page =~ ~r/^── :top_shown ─{#{columns - 14}}$/mu
      assert String.contains?(page, name) == columns >= 132
    end
  end
end
