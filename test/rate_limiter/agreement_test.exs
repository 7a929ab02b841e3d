defmodule RateLimiter.AgreementTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{Agreement, VSM}
  alias RateLimiter.VSM.Config

  describe "keys/3" do
    defp keys(instance, name) do
      agreement = %Agreement{store: 0, prefix: "p", instance: instance, node: "n", label: "l"}
      Agreement.keys(agreement, name, "g")
    end

    test "plain names of instance and subsystem are readable in keys" do
      assert keys(:shop, :s1) ==
               for(part <- ~w(nodes g:agreed g:open g:closed), do: "p:{!vsm:shop:s1}:#{part}")
    end

    test "different instances and subsystems have different keys, whatever their names" do
      names = [:a, :b, :"a:b", :"}", {:a, 1}, "a", nil, :"~a", :"a b"]
      all = for instance <- names, name <- [:a, :"{x}", :"a:b"], do: keys(instance, name)
      assert length(Enum.uniq(all)) == length(all)
      for key <- List.flatten(all), do: assert(key =~ ~r/\Ap:\{!vsm:[^{}\s]+\}:[a-z:]+\z/)
    end
  end

  describe "group/2" do
    defp group(options, interval \\ 1_000) do
      vsm = [subsystems: [a: [limit: 100, per: :second] ++ options]]
      %{subsystems: [a: subsystem]} = Config.new!(vsm, [:vsm])
      Agreement.group(subsystem, interval)
    end

    test "only nodes with the same law, options, limit and interval form a group" do
      assert group([]) == group([])

      groups =
        for options <- [
              [],
              [floor: 0.2],
              [ceiling: 2.0],
              [target: 50],
              [dry_run: true],
              [law: RateLimiter.Adaptive.Signals]
            ],
            do: group(options)

      assert length(Enum.uniq([group([], 500) | groups])) == 7
    end
  end

  describe "decode/1" do
    test "returns an encoded term, and an error for anything else" do
      term = {:a, %{"b" => [1.5, nil]}}
      assert Agreement.decode(Agreement.encode(term)) == {:ok, term}
      compressed = :erlang.term_to_binary(List.duplicate(0, 1_000_000), [:compressed])

      for bytes <- ["", "OK", nil, 7, <<131>>, compressed],
          do: assert(Agreement.decode(bytes) == :error)
    end
  end

  test "without a Redis store, subsystems have no agreement" do
    RateLimiter.Test.start(vsm: [subsystems: [a: [limit: 1, per: :second]]])
    assert %{a: %{agreement: nil}} = VSM.subsystem_metrics()
  end
end
