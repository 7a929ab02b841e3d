defmodule YamlElixir do
  # Stands in for the library, which this project does not depend on: one document, and one that is invalid.
  def read_from_string("api: 1", maps_as_keywords: true), do: {:ok, [{"api", 1}]}

  def read_from_string(_text, maps_as_keywords: true),
    do: {:error, %ArgumentError{message: "no YAML"}}
end

defmodule RateLimiter.Limits.DocumentTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Limits.{Change, Document}

  @limits [
    api: [
      windows: [
        burst: [limit: 100, per: :second, burst: 200],
        daily: [algorithm: :fixed_window, limit: 50_000, per: :day, aligned: false]
      ],
      events: :denials,
      threshold: 0.8
    ],
    login: [
      windows: [
        attempts: [algorithm: :sliding_window, limit: 5, per: {90, :second}, sub_windows: 9]
      ]
    ]
  ]

  @json ~S"""
  {
    "api": {
      "windows": {
        "burst": {"limit": 100, "per": "second", "burst": 200},
        "daily": {"algorithm": "fixed_window", "limit": 50000, "per": "1 day", "aligned": false}
      },
      "events": "denials",
      "threshold": 0.8
    },
    "login": {"windows": {"attempts": {"algorithm": "sliding_window", "limit": 5, "per": "90s", "sub_windows": 9}}}
  }
  """

  @toml ~S"""
  [api]
  events = "denials" # only these
  threshold = 0.8

  [api.windows.burst]
  limit = 100
  per = "second"
  burst = 200

  [api.windows.daily]
  algorithm = "fixed_window"
  limit = 50_000
  per = "1 day"
  aligned = false

  [login.windows]
  attempts = { algorithm = "sliding_window", limit = 5, per = "90s", sub_windows = 9 }
  """

  defp steps(limits), do: Change.steps(limits, [], :local)

  test "limits/2 reads the same limits in every format" do
    {:ok, expected} = steps(@limits)

    for {text, format} <- [{@json, :json}, {@toml, :toml}, {inspect(@limits), :exs}] do
      assert {:ok, limits} = Document.limits(text, format)
      assert steps(limits) == {:ok, expected}, "#{format}"
      assert Keyword.keys(limits) == [:api, :login]
    end
  end

  test "limits/2 reads YAML by the library of the application" do
    assert Document.limits("api: 1", :yaml) == {:ok, [api: 1]}
    assert Document.limits(":", :yaml) == {:error, "no YAML"}
  end

  test "limits/2 returns the line of an error" do
    for {text, format, reason} <- [
          {"{\n  \"api\": }", :json, "expected value at line 2 column 10"},
          {"", :json, "EOF while parsing a value at line 1 column 0"},
          {<<"\"", 255, "\"">>, :json, "invalid unicode code point at line 1 column 2"},
          {"[api]\nlimit = ", :toml, "at line 2 column 9"},
          {"a = 1\na = 2", :toml, "duplicate key at line 2 column 1"},
          {<<255>>, :toml, "invalid utf-8"},
          {"[api: ", :exs, "missing terminator"},
          {"raise \"no\"", :exs, "no"},
          {"throw :no", :exs, "throw"}
        ] do
      assert {:error, given} = Document.limits(text, format)
      assert given =~ reason, "#{inspect(text)}: #{given}"
    end

    deep = String.duplicate("[", 100_000)
    for format <- [:json, :toml], do: assert({:error, _} = Document.limits(deep, format))
  end

  test "what is not limits becomes a reason with its path" do
    for {text, reason} <- [
          {"[1]", "options: expected a keyword list or a map with atoms as keys, got: [1]"},
          {"null", "options: expected a keyword list or a map with atoms as keys, got: nil"},
          {~s({"api": 5}), "api: expected a keyword list or a map with atoms as keys, got: 5"},
          {~s({"api": {"windows": []}}), "api.windows: expected at least one window"},
          {~s({"api": {"windows": {"w": {"limit": 1, "per": "week"}}}}),
           "api.windows.w.per: expected a period shorter than 9 years: :second, :minute, :hour, :day or {n, unit}, got: \"week\""},
          {~s({"api": {"windows": {"w": {"limit": 1.5, "per": "day"}}}}),
           "api.windows.w.limit: expected a positive integer, got: 1.5"},
          {~s({"api": {"windows": {"w": {"limit": 18446744073709551615, "per": "day"}}}}),
           "api.windows.w.limit: expected an integer of at most 9223372036854775807, got: 18446744073709551615"},
          {~s({"api": {"windows": {"w": {"limt": 1, "per": "day"}}}}),
           "api.windows.w: unknown option :limt, did you mean :limit?"},
          {~s({"api": {"windows": {"w": {"limit": 1, "limit": 2, "per": "day"}}}}),
           "api.windows.w: :limit is given twice"},
          {~s({"api": {"windows": {"w": {"limit": 1, "per": "day"}}, "events": "some"}}),
           "api.events: expected one of :all, :denials, :none, got: \"some\""}
        ] do
      assert {:ok, limits} = Document.limits(text, :json)
      assert steps(limits) == {:error, [reason]}, text
    end
  end

  test "terms/1 takes plans" do
    plans = %{"pro" => %{"burst" => %{"limit" => 500, "per" => "second"}}}
    assert [api: [plans: terms]] = Document.terms(%{"api" => %{"plans" => plans}})
    assert terms == [pro: [burst: [limit: 500, per: :second]]]
  end

  test "terms/1 takes maps and lists, with texts and with atoms" do
    by_text = %{"api" => %{"windows" => %{"w" => %{"limit" => 1, "per" => "minute"}}}}
    by_atom = [api: [windows: [w: [limit: 1, per: :minute]]]]
    assert Document.terms(by_text) == by_atom
    assert Document.terms(by_atom) == by_atom
    assert Document.terms([{1, 2}]) == [{1, 2}]
    long = String.duplicate("x", 256)
    assert Document.terms(%{long => 1}) == [{long, 1}]
  end

  @tag :tmp_dir
  test "text/1 and format/1 return why a file cannot be read", %{tmp_dir: folder} do
    path = Path.join(folder, "limits.json")
    assert Document.text(path) == {:error, "cannot be read: no such file or directory"}
    assert {:error, "cannot be read: " <> _} = Document.text(folder)
    File.write!(path, String.duplicate(" ", 1_000_001))
    assert Document.text(path) == {:error, "expected at most 1000000 bytes, got: 1000001"}
    File.write!(path, "{}")
    assert Document.text(path) == {:ok, "{}"}

    for {name, format} <- [
          {"a.json", :json},
          {"a.toml", :toml},
          {"a.yaml", :yaml},
          {"a.yml", :yaml},
          {"b/a.exs", :exs}
        ],
        do: assert(Document.format(name) == {:ok, format})

    assert {:error, "expected a file that ends with .json" <> _} = Document.format("limits")
  end
end
