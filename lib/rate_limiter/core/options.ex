defmodule RateLimiter.Core.Options do
  @moduledoc false
  # Options by a schema: validated, filled with defaults, and documented from the same words.
  #
  # A schema is a keyword list from an option to its `:type`, `:doc`, and `:default` or `:required`, as in
  # NimbleOptions.
  # Its types are `:any`, `:boolean`, `:atom`, `:integer`, `:string`, `:pos_integer`, `{:in, list_or_range}` and
  # `{:or, types}`. Additional types are
  #
  #   * `:milliseconds` - a positive integer that a timer can take.
  #   * `{:custom, fun, words}` - with one argument, `fun` is a predicate. With two, the value and its path, it returns
  #     the value to use, or raises. The words say what it expects.
  #   * `{:each, fun}` - a keyword list or a map. `fun` gets each value and its path, and returns the value to use.
  #
  # `:keys` is the schema of what is below an option, for the documentation, `:each` that of what is two names below it, `:only` the algorithm that it belongs to.
  # Messages do not show the value of a `:secret`.

  import Bitwise, only: [>>>: 2]

  @max 9_223_372_036_854_775_807

  # Nine years: the longest timer.
  @max_ms 283_824_000_000

  # The most bits of an integer that messages show, about 77 digits.
  @max_bits 256

  @type path :: [term]
  @type schema :: keyword(keyword)

  @doc "Returns the options as a map with the defaults. The `ArgumentError` for an invalid option begins with its path."
  @spec validate!(term, schema, path) :: map
  def validate!(options, schema, path) do
    given = named!(options, path)

    for {key, _value} <- given, not Keyword.has_key?(schema, key) do
      misuse!(path, "unknown option #{inspect(key)}#{hint(key, Keyword.keys(schema))}")
    end

    Map.new(schema, fn {key, rules} ->
      {key, option!(List.keyfind(given, key, 0), rules, path ++ [key])}
    end)
  end

  @doc "Returns a keyword list or a map as a keyword list, with each value as `fun` returns it."
  @spec named!(term, path, (term, path -> result)) :: [{atom, result}] when result: term
  def named!(values, path, fun \\ fn value, _path -> value end) do
    unless named?(values),
      do: expected!(path, "a keyword list or a map with atoms as keys", values)

    given = Enum.to_list(values)
    names = Keyword.keys(given)
    if nil in names, do: expected!(path, "names other than nil", values)

    case names -- Enum.uniq(names) do
      [] -> for {name, value} <- given, do: {name, fun.(value, path ++ [name])}
      [twice | _] -> misuse!(path, "#{inspect(twice)} is given twice")
    end
  end

  @doc "Returns whether this is a keyword list or a map with atoms as keys."
  @spec named?(term) :: boolean
  def named?(values) when is_map(values) and not is_struct(values),
    do: values |> Map.keys() |> Enum.all?(&is_atom/1)

  def named?(values), do: Keyword.keyword?(values)

  @doc "Maps the entries of a keyword list or a map, without validation. Returns any other term as it is."
  @spec map(term, ({term, term} -> {term, term})) :: term
  def map(values, fun) do
    if Keyword.keyword?(values) or (is_map(values) and not is_struct(values)),
      do: Enum.map(values, fun),
      else: values
  end

  @doc "Raises the `ArgumentError` for a value that is not as expected."
  @spec expected!(path, String.t(), term) :: no_return
  def expected!(path, expected, got),
    do: misuse!(path, "expected #{expected}, got: #{show(got)}")

  @doc "Raises the `ArgumentError` for a value that is not as expected and may contain a password."
  @spec hidden!(path, String.t()) :: no_return
  def hidden!(path, expected), do: misuse!(path, "expected #{expected} (value hidden)")

  @doc "Raises an `ArgumentError` about the option at this path."
  @spec misuse!(path, String.t()) :: no_return
  def misuse!(path, message), do: raise(ArgumentError, "#{format(path)}: #{message}")

  @doc "Raises the `ArgumentError` for a reason of the native library, which begins with the name of the option."
  @spec refused!(path, String.t()) :: no_return
  def refused!(path, reason),
    do: raise(ArgumentError, Enum.map_join(path, &(segment(&1) <> ".")) <> reason)

  @doc "Returns the known name that is most similar, if one is similar enough to suggest it."
  @spec nearest(atom, [atom]) :: atom | nil
  def nearest(name, known) do
    known
    |> Enum.map(&{String.jaro_distance(Atom.to_string(&1), Atom.to_string(name)), &1})
    |> Enum.filter(fn {similarity, _name} -> similarity > 0.77 end)
    |> Enum.max(fn -> {0, nil} end)
    |> elem(1)
  end

  @doc "Returns names as an English list: the first 20, and the number of the others."
  @spec list([atom]) :: String.t()
  def list([]), do: "none"
  def list([one]), do: show(one)

  def list(names) do
    case Enum.split(names, 20) do
      {names, []} ->
        "#{names |> Enum.drop(-1) |> Enum.map_join(", ", &inspect/1)} and #{inspect(List.last(names))}"

      {names, rest} ->
        "#{Enum.map_join(names, ", ", &inspect/1)} and #{length(rest)} more"
    end
  end

  @doc "Returns the schema as a Markdown list."
  @spec docs(schema, String.t()) :: String.t()
  def docs(schema, indent \\ "") do
    Enum.map_join(schema, "\n", fn {key, rules} ->
      "#{indent}* `#{inspect(key)}` - #{sentence(rules)}#{below(rules[:keys], indent)}"
    end)
  end

  @doc "Returns a term as messages show it: as `inspect/1` does, and of a large term only the beginning."
  @spec show(term) :: String.t()
  def show(term), do: inspect(term, limit: 40, printable_limit: 200, inspect_fun: &show/2)

  # `inspect/2` bounds neither the digits of an integer nor the size of nested collections.
  defp show(integer, _opts) when is_integer(integer) and abs(integer) >>> @max_bits > 0,
    do: "#Integer<#{integer |> abs() |> :binary.encode_unsigned() |> byte_size()} bytes>"

  defp show(term, opts), do: Inspect.inspect(term, %{opts | limit: div(opts.limit, 2)})

  @doc "Returns a path as messages show it."
  @spec format(path) :: String.t()
  def format([]), do: "options"
  def format(path), do: Enum.map_join(path, ".", &segment/1)

  defp sentence(rules) do
    [rules[:doc], belongs(rules[:only]), default(rules)]
    |> Enum.reject(&is_nil/1)
    |> Enum.join(" ")
  end

  defp belongs(nil), do: nil
  defp belongs(algorithm), do: "Only for `#{inspect(algorithm)}`."

  defp default(rules) do
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
      nil -> ", known options are #{list(known)}"
      near -> ", did you mean #{inspect(near)}?"
    end
  end

  defp option!(nil, rules, path) do
    if rules[:required], do: misuse!(path, "is required, expected #{expectation(rules[:type])}")
    rules[:default]
  end

  defp option!({_key, value}, rules, path) do
    if rules[:secret] && !valid?(rules[:type], value),
      do: hidden!(path, expectation(rules[:type])),
      else: value!(rules[:type], value, path)
  end

  defp value!({:each, fun}, value, path), do: named!(value, path, fun)

  defp value!({:custom, fun, _words}, value, path) when is_function(fun, 2),
    do: fun.(value, path)

  defp value!(type, value, path) do
    if valid?(type, value), do: value, else: expected!(path, expectation(type, value), value)
  end

  defp valid?(:any, _value), do: true
  defp valid?(:boolean, value), do: is_boolean(value)
  defp valid?(:atom, value), do: is_atom(value)
  defp valid?(:integer, value), do: is_integer(value)
  defp valid?(:string, value), do: is_binary(value)
  defp valid?(:pos_integer, value), do: valid?({:in, 1..@max}, value)
  defp valid?(:milliseconds, value), do: valid?({:in, 1..@max_ms}, value)
  defp valid?({:in, %Range{} = range}, value), do: is_integer(value) and value in range
  defp valid?({:in, choices}, value), do: value in choices
  defp valid?({:or, types}, value), do: Enum.any?(types, &valid?(&1, value))
  defp valid?({:custom, valid?, _words}, value), do: valid?.(value)

  defp expectation(type, value \\ nil)

  defp expectation(:pos_integer, value) when is_integer(value) and value > @max,
    do: "an integer of at most #{@max}"

  defp expectation(:boolean, _value), do: "true or false"
  defp expectation(:atom, _value), do: "an atom"
  defp expectation(:integer, _value), do: "an integer"
  defp expectation(:string, _value), do: "a string"
  defp expectation(:pos_integer, _value), do: "a positive integer"
  defp expectation(:milliseconds, value), do: expectation({:in, 1..@max_ms}, value)
  defp expectation({:in, from..to//1}, _value), do: "an integer from #{from} to #{to}"
  defp expectation({:in, [choice]}, _value), do: inspect(choice)

  defp expectation({:in, choices}, _value),
    do: "one of #{Enum.map_join(choices, ", ", &inspect/1)}"

  defp expectation({:or, types}, value), do: Enum.map_join(types, " or ", &expectation(&1, value))
  defp expectation({:custom, _fun, words}, _value), do: words
  defp expectation({:each, _fun}, _value), do: "a keyword list or a map"

  defp segment(name) when is_atom(name), do: name |> inspect() |> String.trim_leading(":")
  defp segment(name), do: show(name)
end
