defmodule RateLimiter.Limits.SourceTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Limits.Source

  def limits, do: []

  test "new!/2 returns a source with its defaults, and name/1 its name" do
    assert Source.new!(nil, []) == nil
    file = Source.new!({:file, "/etc/limits.json"}, [])
    assert {file.kind, file.every_ms, file.max_denied} == {:file, 1_000, 0.5}
    assert Source.name(file) == "/etc/limits.json"

    function = Source.new!({:function, &__MODULE__.limits/0, max_denied: 1}, [])
    assert {function.kind, function.every_ms, function.max_denied} == {:function, 10_000, 1}
    assert Source.name(function) == "RateLimiter.Limits.SourceTest.limits/0"
    assert Source.new!({:file, "a.toml", every: {5, :minute}}, []).every_ms == 300_000
  end

  test "an instance refuses an invalid source with its path" do
    for {option, message} <- [
          {"limits.json", ~r/^limits: expected \{:file, path\}, .*, got: "limits.json"$/},
          {{:file, :limits}, ~r/^limits: expected \{:file, path\}/},
          {{:file, ""}, ~r/^limits: expected \{:file, path\}/},
          {{:function, &Enum.count/1}, ~r/^limits: expected \{:file, path\}/},
          {{:url, "http://localhost"}, ~r/^limits: expected \{:file, path\}/},
          {{:file, "a.json", every: :week},
           ~r/^limits.every: expected a period shorter than 9 years/},
          {{:file, "a.json", max_denied: 0},
           ~r/^limits.max_denied: expected a number above 0 and at most 1, got: 0$/},
          {{:file, "a.json", evry: :day},
           ~r/^limits: unknown option :evry, did you mean :every\?$/},
          {{:file, "a.json", :fast}, ~r/^limits: expected a keyword list or a map/}
        ] do
      assert_raise ArgumentError, message, fn -> RateLimiter.start_link(limits: option) end
    end
  end
end
