defmodule RateLimiter.Support.Json do
  @moduledoc false
  # A parser of RFC 8259, independent of the writer.

  @doc "Returns the value of a text. An object is a map with strings as keys. Raises for anything else than JSON."
  @spec decode!(iodata) :: term
  def decode!(text) do
    {value, rest} = text |> IO.iodata_to_binary() |> String.trim_leading() |> value()
    "" = String.trim(rest)
    value
  end

  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("[" <> rest), do: rest |> String.trim_leading() |> members("]", [], &value/1)

  defp value("{" <> rest) do
    {pairs, rest} = rest |> String.trim_leading() |> members("}", [], &pair/1)
    true = length(Enum.uniq_by(pairs, &elem(&1, 0))) == length(pairs)
    {Map.new(pairs), rest}
  end

  defp value("\"" <> rest), do: string(rest, "")

  defp value(text) do
    [number] = Regex.run(~r/\A-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/, text)
    {rest, ""} = {String.replace_prefix(text, number, ""), ""}

    {if(number =~ ~r/[.eE]/, do: elem(Float.parse(number), 0), else: String.to_integer(number)),
     rest}
  end

  defp members(text, close, done, each) do
    if String.starts_with?(text, close) do
      {Enum.reverse(done), String.replace_prefix(text, close, "")}
    else
      {member, rest} = each.(text)

      case String.trim_leading(rest) do
        "," <> rest -> rest |> String.trim_leading() |> members(close, [member | done], each)
        rest -> members(rest, close, [member | done], each)
      end
    end
  end

  defp pair("\"" <> rest) do
    {key, rest} = string(rest, "")
    ":" <> rest = String.trim_leading(rest)
    {value, rest} = rest |> String.trim_leading() |> value()
    {{key, value}, rest}
  end

  defp string("\"" <> rest, done), do: {done, rest}
  defp string("\\n" <> rest, done), do: string(rest, done <> "\n")

  defp string("\\u" <> <<hex::binary-size(4), rest::binary>>, done),
    do: string(rest, done <> <<String.to_integer(hex, 16)::utf8>>)

  defp string("\\" <> <<char, rest::binary>>, done) when char in [?", ?\\, ?/],
    do: string(rest, done <> <<char>>)

  defp string(<<char::utf8, rest::binary>>, done) when char >= 0x20,
    do: string(rest, done <> <<char::utf8>>)
end
