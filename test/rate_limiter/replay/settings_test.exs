defmodule RateLimiter.Replay.SettingsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Replay.Settings

  defp native(options),
    do: [limits: ["1/s"]] |> Keyword.merge(options) |> Settings.new!() |> Settings.to_native()

  test "an invalid option raises what was expected" do
    for {options, message} <- [
          {[], "limits: is required, expected a list of limits, at least one"},
          {[limits: []], "limits: expected a list of limits, at least one, got: []"},
          {[limits: ["1/s"], by: []],
           "by: expected a field's name, or a list of them without a name twice, got: []"},
          {[limits: ["1/s"], by: "tenant", format: :clf],
           "by: expected a field of Common Log Format (ip, user, path, method, status, bytes, referer, agent), got: \"tenant\""},
          {[limits: ["1/s"], shares_ppm: [2_000_000]],
           "shares_ppm: expected a list of integers from 0 to 1,000,000, got: [2000000]"},
          {[limits: ["1/s"], fields: %{"who" => "x"}],
           "fields: expected a map from ip, user, path, method, status, bytes, referer, agent to names in JSON, got: %{\"who\" => \"x\"}"},
          {[limits: ["1/s"], revers: 1], ~r/^options: unknown option :revers/}
        ] do
      assert_raise ArgumentError, message, fn -> Settings.new!(options) end
    end
  end

  test "a limit is a text or the options of a window" do
    settings =
      Settings.new!(
        limits: ["60/min:sliding_log", [limit: 60, per: :minute, algorithm: :sliding_log]]
      )

    assert [limit, limit] = settings.limits

    assert_raise ArgumentError, ~r/expected a number per period/, fn ->
      Settings.new!(limits: ["60"])
    end

    assert_raise ArgumentError, ~r/^limits.limit: /, fn ->
      Settings.new!(limits: [[limit: 0, per: :second]])
    end
  end

  test "one field name equals a list of it" do
    assert Settings.new!(limits: ["1/s"], by: "path").by == ["path"]
    assert native(by: "path") == native(by: ["path"])
  end

  test "a field of every format has its place and its names in JSON, any other its own name" do
    assert {:auto, _times, nil, [{:ip, ["ip" | _]}, {nil, ["tenant.id"]}], nil, about} =
             native(by: ["ip", "tenant.id"])

    assert {_, _, _, _, {:bytes, ["bytes" | _]}, ^about} = native(cost: "bytes")
    # What is reported of denied requests.
    assert [{:path, ["path" | _]}, {:status, ["status" | _]}] = about
  end

  test "a field that has another name in JSON has no other" do
    assert {_, _, _, [{:ip, ["peer"]}], {:bytes, ["n"]}, [{:path, ["to"]}, _status]} =
             native(cost: "bytes", fields: %{"ip" => "peer", "bytes" => "n", "path" => "to"})
  end

  test "a named time field is the only one, else the usual ones are tried" do
    assert {_, ["at"], :second, _, _, _} = native(time_field: "at", time_unit: :second)
    assert {_, [_, _ | _], nil, _, _, _} = native([])
  end

  test "no name stands for two fields in JSON" do
    names =
      for field <- String.split(Settings.field_list(), ", "),
          {_, _, _, [{_, names}], _, _} = native(by: field),
          name <- names,
          do: name

    assert names == Enum.uniq(names)
  end

  test "field?/1 knows exactly the listed fields" do
    for field <- String.split(Settings.field_list(), ", "), do: assert(Settings.field?(field))
    for other <- ["", "tenant", "IP", "ip "], do: refute(Settings.field?(other))
  end

  test "docs/0 documents every option" do
    for option <- Map.keys(Settings.new!(limits: ["1/s"])) -- [:__struct__],
        do: assert(Settings.docs() =~ "`:#{option}`")
  end
end
