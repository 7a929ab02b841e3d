defmodule RateLimiter.VSM.ConfigTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.VSM.Config

  defp new!(options), do: RateLimiter.Instance.Config.new!(vsm: options).vsm

  describe "vsm: true" do
    test "has the five subsystems of the model as siblings" do
      limits =
        for {name, own} <- new!(true).subsystems,
            do: {name, own.limit.limit, own.limit.per, own.parent}

      assert limits == [
               {:s1, 100, :second, nil},
               {:s2, 50, :second, nil},
               {:s3, 20, :second, nil},
               {:s4, 100, :minute, nil},
               {:s5, 50, {5, :minute}, nil}
             ]

      assert for({_name, own} <- new!(true).subsystems, do: own.floor) == List.duplicate(0.1, 5)
      assert for({_name, own} <- new!(true).subsystems, do: own.ceiling) == List.duplicate(1.0, 5)
    end

    test "has priorities from policy down to control, intelligence, coordination and operations" do
      order =
        new!(true).subsystems
        |> Enum.sort_by(fn {_name, own} -> -own.priority end)
        |> Keyword.keys()

      assert order == [:s5, :s3, :s4, :s2, :s1]
    end
  end

  describe "vsm: false" do
    test "has no subsystems, like no option" do
      assert new!(false) == nil
      assert RateLimiter.Instance.Config.new!([]).vsm == nil
    end
  end

  describe "subsystems:" do
    test "a name of the model has a default limit unless another limit is given" do
      config =
        new!(
          subsystems: [
            s1: [floor: 0.2],
            s2: [limit: 7, per: :minute],
            extra: [limit: 1, per: :day]
          ]
        )

      assert [s1: s1, s2: s2, extra: extra] = config.subsystems
      assert {s1.limit.limit, s1.limit.per, s1.floor, s1.priority} == {100, :second, 0.2, 1}
      assert {s2.limit.limit, s2.limit.per, s2.priority} == {7, :minute, 2}
      assert {extra.limit.limit, extra.priority} == {1, 0}
    end

    test "a subsystem's rate is per second for any period" do
      assert [a: %{rate: 50.0}, b: %{rate: b}] =
               new!(subsystems: [a: [limit: 50, per: :second], b: [limit: 50, per: {5, :minute}]]).subsystems

      assert_in_delta b, 0.1667, 0.0001
    end

    test "dry_run: true holds for all subsystems" do
      assert [a: %{dry_run: true}] =
               new!(dry_run: true, subsystems: [a: [limit: 1, per: :day]]).subsystems
    end

    test "a subsystem may have any algorithm" do
      assert [a: %{limit: %{algorithm: :sliding_window, sub_windows: 4}}] =
               new!(
                 subsystems: [
                   a: [limit: 1, per: :day, algorithm: :sliding_window, sub_windows: 4]
                 ]
               ).subsystems
    end
  end

  describe "invalid options" do
    test "raise with their path, the expected and the given value" do
      one = &[subsystems: [a: [limit: 1, per: :day] ++ &1]]

      for {options, message} <- [
            {:yes, "vsm: expected true, false or a keyword list, got: :yes"},
            {[subsystms: []], "vsm: unknown option :subsystms, did you mean :subsystems?"},
            {[subsystems: []], "vsm.subsystems: expected at least one"},
            {[subsystems: [a: []]],
             "vsm.subsystems.a.limit: is required, expected a positive integer"},
            {[subsystems: [a: [limit: 1, per: :fortnight]]],
             "vsm.subsystems.a.per: expected a period"},
            {one.(floor: 0),
             "vsm.subsystems.a.floor: expected a number above 0, and at most 1, got: 0"},
            {one.(ceiling: :none),
             "vsm.subsystems.a.ceiling: expected a number from 1.0, and below 1,000,000, got: :none"},
            {one.(ceiling: 0.5),
             "vsm.subsystems.a.ceiling: expected a number from 1.0, and below 1,000,000, got: 0.5"},
            {one.(law: {RateLimiter.Adaptive.Signals, depth: 3}),
             "vsm.subsystems.a.law: could not be initialised: law: unknown option :depth, known options are"},
            {one.(weight: -1),
             "vsm.subsystems.a.weight: expected a number above 0, and below 1,000,000, got: -1"},
            {one.(parent: :b), "vsm.subsystems.a.parent: expected one of :a, got: :b"},
            {one.(parent: :a),
             "vsm.subsystems.a.parent: expected a tree, got a cycle: :a is its own ancestor"},
            {one.(law: Nobody),
             "vsm.subsystems.a.law: expected a module that implements RateLimiter.Adaptive, or {module, options}, got: Nobody"},
            {one.(ceiling: 2_000_000),
             "vsm.subsystems.a.ceiling: expected a number from 1.0, and below 1,000,000, got: 2000000"},
            {one.(weight: 2_000_000),
             "vsm.subsystems.a.weight: expected a number above 0, and below 1,000,000, got: 2000000"},
            {one.(health: {[:my | :query], &+/2}),
             "vsm.subsystems.a.health: expected {event, fun}"},
            {one.(health: {[], &+/2}), "vsm.subsystems.a.health: expected {event, fun}"},
            {one.(health: {:query, &+/2}), "vsm.subsystems.a.health: expected {event, fun}"},
            {one.(health: {[:query], &(&1 + 1)}),
             "vsm.subsystems.a.health: expected {event, fun}"},
            {one.(patience: 0), "vsm.subsystems.a.patience: expected a positive integer, got: 0"},
            {one.(target: 1.5),
             "vsm.subsystems.a.target: expected a positive integer or nil, got: 1.5"},
            {one.(algorithm: :sliding_log, limit: 20_000),
             "vsm.subsystems.a: :limit is given twice"},
            {[source_cap: 2], "vsm.source_cap: expected a number above 0, and at most 1, got: 2"},
            {[interval: 0], "vsm.interval: expected an integer from 1 to 283824000000, got: 0"},
            {[interval: 9_000_000_000_000_000_000],
             "vsm.interval: expected an integer from 1 to 283824000000, got: 9000000000000000000"},
            {[sensors: :none], "vsm.sensors: expected a keyword list, got: :none"}
          ] do
        error = assert_raise ArgumentError, fn -> new!(options) end
        assert error.message =~ message
      end
    end

    test "include a cycle of several parents, and a limit that cannot be kept" do
      circle = [
        a: [limit: 1, per: :day, parent: :b],
        b: [limit: 1, per: :day, parent: :c],
        c: [limit: 1, per: :day, parent: :b]
      ]

      assert_raise ArgumentError, ~r/got a cycle/, fn -> new!(subsystems: circle) end

      assert_raise ArgumentError, ~r/^vsm\.subsystems\.a\.limit: .* cannot be kept/, fn ->
        new!(subsystems: [a: [limit: 0x7FFF_FFFF_FFFF_FFFF, per: {1, :millisecond}]])
      end
    end
  end

  test "a law may have options" do
    assert [a: %{law: {Fixed, scale: 0.5}}] =
             new!(subsystems: [a: [limit: 1, per: :day, law: {Fixed, scale: 0.5}]]).subsystems
  end

  test "a child of a shared capacity has the law Signals unless another law is given" do
    config =
      new!(
        subsystems: [
          db: [limit: 10, per: :second, shared: true, target: 50],
          a: [limit: 10, per: :second, parent: :db, target: 50],
          b: [limit: 10, per: :second, parent: :db, law: Fixed],
          c: [limit: 10, per: :second, parent: :a]
        ]
      )

    laws = for {name, own} <- config.subsystems, do: {name, own.law}
    alias RateLimiter.Adaptive.{Signals, Standard}
    assert laws == [db: Standard, a: Signals, b: Fixed, c: Standard]
    assert {Standard, options} = Config.law_options(config.subsystems[:db])
    assert options[:target] == 50
  end

  describe "agreement:" do
    defp agreement!(store, vsm),
      do: RateLimiter.Instance.Config.new!(store: store, vsm: vsm).vsm.agreement

    test "is on by default with a Redis store" do
      assert agreement!({:redis, []}, true) == nil
      assert agreement!({:redis, []}, agreement: true) == true
      assert agreement!({:redis, []}, agreement: false) == false
      assert agreement!(:local, agreement: false) == false
    end

    test "raises with a local store" do
      message =
        "vsm.agreement: expected false without a Redis store, because nodes agree through Redis, " <>
          "got: true"

      assert_raise ArgumentError, message, fn -> agreement!(:local, agreement: true) end
    end

    test "is a boolean" do
      assert_raise ArgumentError, ~r/agreement: expected .*, got: :often/, fn ->
        agreement!({:redis, []}, agreement: :often)
      end
    end
  end

  test "every option is documented" do
    docs = Config.docs("")
    for {key, _} <- Config.schema(), do: assert(docs =~ "* `#{inspect(key)}` - ")

    for key <-
          ~w(limit per parent floor ceiling priority weight shared target patience health law dry_run events)a,
        do: assert(docs =~ "  * `#{inspect(key)}` - ")
  end
end
