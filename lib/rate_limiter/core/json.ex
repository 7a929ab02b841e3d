defmodule RateLimiter.Core.Json do
  @moduledoc false
  # A writer of JSON, which Elixir has not before 1.18.
  #
  # An object is a list of `{key, value}`, which keeps its order. Any other list is an array.

  @doc """
  Encodes `nil`, booleans, numbers, strings, arrays and objects.

      iex> IO.iodata_to_binary(RateLimiter.Core.Json.encode([{"a\\n", [1, nil, []]}]))
      ~S({
        "a\\n": [1, null, []]
      })
  """
  @spec encode(term, String.t()) :: iodata
  def encode(value, indent \\ "")
  def encode(nil, _indent), do: "null"
  def encode(value, _indent) when is_boolean(value), do: Atom.to_string(value)
  def encode(value, _indent) when is_integer(value), do: Integer.to_string(value)
  def encode(value, _indent) when is_float(value), do: :erlang.float_to_binary(value, [:short])
  def encode(value, _indent) when is_binary(value), do: [?", escape(value), ?"]

  def encode([{_, _} | _] = members, indent) do
    deeper = indent <> "  "

    lines =
      for {key, value} <- members,
          do: ["\n", deeper, encode(to_string(key), ""), ": ", encode(value, deeper)]

    ["{", Enum.intersperse(lines, ","), "\n", indent, "}"]
  end

  # One line for each row of a table.
  def encode([[{_, _} | _] | _] = rows, indent) do
    deeper = indent <> "  "

    lines =
      for row <- rows do
        flat? = not Enum.any?(row, fn {_key, value} -> match?([_ | _], value) end)
        ["\n", deeper, if(flat?, do: flat(row), else: encode(row, deeper))]
      end

    ["[", Enum.intersperse(lines, ","), "\n", indent, "]"]
  end

  def encode(values, indent) when is_list(values),
    do: ["[", values |> Enum.map(&encode(&1, indent)) |> Enum.intersperse(", "), "]"]

  @doc "Encodes an object without nested ones in one line."
  @spec line([{term, term}]) :: iodata
  def line(members), do: flat(members)

  defp flat(row) do
    members = for {key, value} <- row, do: [encode(to_string(key), ""), ": ", encode(value, "")]
    ["{", Enum.intersperse(members, ", "), "}"]
  end

  defp escape(text), do: for(<<char::utf8 <- text>>, do: escaped(char))

  defp escaped(?"), do: ~S(\")
  defp escaped(?\\), do: ~S(\\)
  defp escaped(?\n), do: ~S(\n)

  defp escaped(char) when char < 0x20,
    do: ["\\u", char |> Integer.to_string(16) |> String.pad_leading(4, "0")]

  defp escaped(char), do: <<char::utf8>>
end
