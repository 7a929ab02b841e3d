defmodule RateLimiter.Core.Options do
  @moduledoc false
  # Options by a schema: checked, filled with defaults, and documented from the same words.
  #
  # A schema is a keyword list from an option to its `:type`, `:doc`, and `:default` or `:required`.
  # `:only` names the algorithms that an option belongs to, `:keys` the schema of what lies under it. What is `:secret`
  # is shown in no message.

  @max 9_223_372_036_854_775_807

  # Nine years: what a timer can be set to, and more than anybody waits.
  @max_ms 283_824_000_000

  @type path :: [term]
  @type schema :: keyword(keyword)

  @doc "The options as a map with the defaults, or an `ArgumentError` that names the path."
  @spec validate!(term, schema, path) :: map
  def validate!(options, schema, path) do
    given = named!(options, path, fn value, _path -> value end)

    for {key, _value} <- given, not Keyword.has_key?(schema, key) do
      misuse!(path, "unknown option #{inspect(key)}#{hint(key, Keyword.keys(schema))}")
    end

    Map.new(schema, fn {key, rules} ->
      {key, option!(List.keyfind(given, key, 0), rules, path ++ [key])}
    end)
  end

  @doc "Each value of a keyword list or map by its name, as `fun` makes it."
  @spec named!(term, path, (term, path -> result)) :: [{atom, result}] when result: term
  def named!(values, path, fun) do
    given = if is_map(values) and not is_struct(values), do: Map.to_list(values), else: values

    unless Keyword.keyword?(given),
      do: expected!(path, "a keyword list or a map with atoms as keys", values)

    names = Keyword.keys(given)
    if nil in names, do: expected!(path, "names other than nil", values)

    case names -- Enum.uniq(names) do
      [] -> for {name, value} <- given, do: {name, fun.(value, path ++ [name])}
      [twice | _] -> misuse!(path, "#{inspect(twice)} is given twice")
    end
  end

  @doc "The `ArgumentError` of a value that is not what its option expects."
  @spec expected!(path, String.t(), term) :: no_return
  def expected!(path, expected, got),
    do:
      misuse!(path, "expected #{expected}, got: #{inspect(got, limit: 20, printable_limit: 200)}")

  @doc "An `ArgumentError` about the option at this path."
  @spec misuse!(path, String.t()) :: no_return
  def misuse!(path, message), do: raise(ArgumentError, "#{format(path)}: #{message}")

  @doc "The `ArgumentError` of the native library's reason, which begins with the option it is about."
  @spec refused!(path, String.t()) :: no_return
  def refused!(path, reason), do: raise(ArgumentError, "#{format(path)}.#{reason}")

  @doc "The known name that was probably meant."
  @spec nearest(atom, [atom]) :: atom | nil
  def nearest(name, known) do
    known
    |> Enum.map(&{String.jaro_distance(Atom.to_string(&1), Atom.to_string(name)), &1})
    |> Enum.filter(fn {similarity, _name} -> similarity > 0.77 end)
    |> Enum.max(fn -> {0, nil} end)
    |> elem(1)
  end

  @doc "Names as a person would list them; of very many, the first."
  @spec list([atom]) :: String.t()
  def list([]), do: "none"
  def list([one]), do: inspect(one)

  def list(names) do
    case Enum.split(names, 20) do
      {names, []} ->
        "#{names |> Enum.drop(-1) |> Enum.map_join(", ", &inspect/1)} and #{inspect(List.last(names))}"

      {names, rest} ->
        "#{Enum.map_join(names, ", ", &inspect/1)} and #{length(rest)} more"
    end
  end

  @doc "The schema as a list for a module's documentation."
  @spec docs(schema, String.t()) :: String.t()
  def docs(schema, indent \\ "") do
    Enum.map_join(schema, "\n", fn {key, rules} ->
      "#{indent}* `#{inspect(key)}` - #{sentence(rules)}#{below(rules[:keys], indent)}"
    end)
  end

  @doc "A path as it is written in a message."
  @spec format(path) :: String.t()
  def format([]), do: "options"
  def format(path), do: Enum.map_join(path, ".", &segment/1)

  defp sentence(rules) do
    [rules[:doc], belongs(rules[:only]), standard(rules)]
    |> Enum.reject(&is_nil/1)
    |> Enum.join(" ")
  end

  defp belongs(nil), do: nil
  defp belongs(algorithm), do: "Only for `#{inspect(algorithm)}`."

  defp standard(rules) do
    cond do
      rules[:required] -> "Required."
      rules[:default] == nil -> nil
      true -> "Default: `#{rules[:default] |> Macro.escape() |> Macro.to_string()}`."
    end
  end

  defp below(nil, _indent), do: ""
  defp below(schema, indent), do: "\n" <> docs(schema, indent <> "  ")

  defp hint(key, known) do
    case nearest(key, known) do
      nil -> "; known are #{list(known)}"
      near -> ", did you mean #{inspect(near)}?"
    end
  end

  defp option!(nil, rules, path) do
    if rules[:required], do: misuse!(path, "is required: #{expectation(rules[:type], nil)}")
    rules[:default]
  end

  defp option!({_key, value}, rules, path) do
    if rules[:secret] && !valid?(rules[:type], value),
      do: misuse!(path, "expected #{expectation(rules[:type], value)}; what came is not shown"),
      else: value!(rules[:type], value, path)
  end

  defp value!({:each, fun}, value, path), do: named!(value, path, fun)
  defp value!({:by, fun, _words}, value, path), do: fun.(value, path)

  defp value!(type, value, path) do
    if valid?(type, value), do: value, else: expected!(path, expectation(type, value), value)
  end

  defp valid?(:any, _value), do: true
  defp valid?(:boolean, value), do: is_boolean(value)
  defp valid?(:pos_integer, value), do: valid?({:integer, 1, @max}, value)
  defp valid?(:milliseconds, value), do: valid?({:integer, 1, @max_ms}, value)
  defp valid?({:integer, min, max}, value), do: is_integer(value) and value in min..max
  defp valid?({:in, choices}, value), do: value in choices
  defp valid?({:or, types}, value), do: Enum.any?(types, &valid?(&1, value))
  defp valid?({:that, valid?, _words}, value), do: valid?.(value)

  defp expectation(:boolean, _value), do: "true or false"

  defp expectation(:pos_integer, value) when is_integer(value) and value > @max,
    do: "an integer of at most #{@max}"

  defp expectation(:milliseconds, value) when is_integer(value) and value > @max_ms,
    do: "at most #{@max_ms} milliseconds, which are nine years"

  defp expectation(type, _value) when type in [:pos_integer, :milliseconds],
    do: "a positive integer"

  defp expectation({:integer, min, max}, _value), do: "an integer from #{min} to #{max}"
  defp expectation({:in, [choice]}, _value), do: inspect(choice)

  defp expectation({:in, choices}, _value),
    do: "one of #{Enum.map_join(choices, ", ", &inspect/1)}"

  defp expectation({:or, types}, value), do: Enum.map_join(types, " or ", &expectation(&1, value))
  defp expectation({:that, _valid?, words}, _value), do: words
  defp expectation({:by, _fun, words}, _value), do: words
  defp expectation({:each, _fun}, _value), do: "a keyword list or a map"

  defp segment(name) when is_atom(name), do: name |> inspect() |> String.trim_leading(":")
  defp segment(name), do: inspect(name)
end
