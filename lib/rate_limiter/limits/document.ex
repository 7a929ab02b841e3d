defmodule RateLimiter.Limits.Document do
  @moduledoc false
  # A file of limits, or other limits with texts as names and words, as terms in the form of the option `:limiters`.
  #
  # Names become atoms. They come from the operator of the application, and from a file of a bounded size.

  alias RateLimiter.Core.{Json, Limit, LimitText, Native}
  alias RateLimiter.Instance.Config

  @max_bytes 1_000_000
  @max_name 255

  @type format :: :json | :toml | :yaml | :exs

  @formats %{
    ".json" => :json,
    ".toml" => :toml,
    ".yaml" => :yaml,
    ".yml" => :yaml,
    ".exs" => :exs
  }

  @doc "Returns the format of a file by the end of its name."
  @spec format(Path.t()) :: {:ok, format} | {:error, String.t()}
  def format(path) do
    with :error <- Map.fetch(@formats, Path.extname(path)),
         do: {:error, "expected a file that ends with .json, .toml, .yaml, .yml or .exs"}
  end

  @doc "Returns the text of a file of limits."
  @spec text(Path.t()) :: {:ok, binary} | {:error, String.t()}
  def text(path) do
    with {:ok, %{size: size}} when size <= @max_bytes <- File.stat(path),
         {:ok, text} <- File.read(path) do
      {:ok, text}
    else
      {:ok, %{size: size}} -> {:error, "expected at most #{@max_bytes} bytes, got: #{size}"}
      {:error, reason} -> {:error, "cannot be read: #{:file.format_error(reason)}"}
    end
  end

  @doc "Returns the limits that a text states."
  @spec limits(binary, format) :: {:ok, keyword} | {:error, String.t()}
  def limits(text, format) do
    with {:ok, document} <- parsed(text, format), do: {:ok, terms(document)}
  end

  @doc "Returns limits with atoms in place of the texts of names and words. What is invalid stays, for the schema to refuse."
  @spec terms(term) :: term
  def terms(limiters), do: named(limiters, &options(&1, Config.limiter_schema()))

  @doc "Returns limits in JSON, as `limits/2` reads them."
  @spec json(keyword) :: binary
  def json([]), do: "{}"
  def json(limits), do: limits |> texts() |> Json.encode() |> IO.iodata_to_binary()

  defp texts({count, unit}) when is_integer(count), do: "#{count} #{unit}"
  defp texts(value) when is_boolean(value) or is_nil(value), do: value
  defp texts(value) when is_atom(value), do: Atom.to_string(value)

  defp texts(value) do
    if pairs?(value), do: for({name, of} <- value, do: {to_string(name), texts(of)}), else: value
  end

  defp parsed(text, format) when format in [:json, :toml], do: Native.document(text, format)

  defp parsed(text, :exs) do
    {limits, _binding} = Code.eval_string(text)
    {:ok, limits}
  rescue
    error -> {:error, Exception.message(error)}
  catch
    kind, reason -> {:error, Exception.format_banner(kind, reason)}
  end

  # A library of the application, which this one does not depend on.
  defp parsed(text, :yaml) do
    case Code.ensure_loaded(YamlElixir) do
      {:module, yaml} ->
        # As lists of pairs, like the other formats.
        with {:error, error} <- yaml.read_from_string(text, maps_as_keywords: true),
             do: {:error, Exception.message(error)}

      {:error, _} ->
        {:error,
         "expected :yaml_elixir among the dependencies of the application, which reads YAML"}
    end
  end

  defp named(entries, fun) do
    if pairs?(entries),
      do: for({name, value} <- entries, do: {name(name), fun.(value)}),
      else: entries
  end

  defp options(entries, schema) do
    if pairs?(entries) do
      for {key, value} <- entries, key = name(key), do: {key, value(value, schema[key] || [])}
    else
      entries
    end
  end

  # Any list of pairs, or a map.
  defp pairs?(entries) when is_map(entries), do: not is_struct(entries)
  defp pairs?(entries) when is_list(entries), do: Enum.all?(entries, &match?({_, _}, &1))
  defp pairs?(_other), do: false

  defp name(text) when is_binary(text) and text != "" do
    if String.valid?(text) and String.length(text) <= @max_name,
      do: String.to_atom(text),
      else: text
  end

  defp name(other), do: other

  # Windows by the name of a plan.
  defp value(plans, [{:type, :any}, {:each, schema} | _]),
    do: named(plans, fn plan -> named(plan, &options(&1, schema)) end)

  defp value(value, rules) do
    case {rules[:type], rules[:keys]} do
      {{:each, _fun}, schema} when schema != nil -> named(value, &options(&1, schema))
      {type, _none} when is_binary(value) -> word(value, type)
      _other -> value
    end
  end

  defp word(text, {:in, words}) when is_list(words),
    do: Enum.find(words, text, &(is_atom(&1) and Atom.to_string(&1) == text))

  defp word(text, {:or, types}), do: Enum.find_value(types, text, &other(text, &1))

  defp word(text, type) do
    with true <- type == Limit.period(),
         {:ok, period} <- LimitText.period(text),
         do: period,
         else: (_other -> text)
  end

  defp other(text, type) do
    with ^text <- word(text, type), do: nil
  end
end
