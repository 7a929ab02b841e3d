defmodule RateLimiter.Support.StructuredFields do
  @moduledoc false
  # A strict parser of the Lists of Structured Fields (RFC 9651) that are sent: Strings with parameters that are Integers.

  @doc "Returns the members of a List, each as its name and its parameters. Raises for anything else."
  @spec list!(binary) :: [{String.t(), %{String.t() => integer}}]
  def list!(text) do
    {member, rest} = member!(text)
    [member | more!(rest)]
  end

  defp more!(""), do: []
  defp more!(", " <> rest), do: list!(rest)

  defp member!(<<?", rest::binary>>) do
    {name, rest} = string!(rest, "")
    {parameters, rest} = parameters!(rest, %{})
    {{name, parameters}, rest}
  end

  defp string!(<<?", rest::binary>>, name), do: {name, rest}

  defp string!(<<?\\, c, rest::binary>>, name) when c in [?", ?\\],
    do: string!(rest, name <> <<c>>)

  defp string!(<<c, rest::binary>>, name) when c in 0x20..0x7E and c != ?\\,
    do: string!(rest, name <> <<c>>)

  defp parameters!(<<?;, rest::binary>>, parameters) do
    [all, key, value] = Regex.run(~r/\A([a-z*][a-z0-9_.*-]*)=(-?[0-9]{1,15})(?=[;,]|\z)/, rest)
    false = is_map_key(parameters, key)
    rest = binary_part(rest, byte_size(all), byte_size(rest) - byte_size(all))
    parameters!(rest, Map.put(parameters, key, String.to_integer(value)))
  end

  defp parameters!(rest, parameters), do: {parameters, rest}
end
