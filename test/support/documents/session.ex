defmodule RateLimiter.Support.Documents.Session do
  @moduledoc false
  # Types the Elixir snippets of a document in order, as a reader does: each `iex>` line must give the answer that the
  # document shows for it, and every other snippet is evaluated as it stands.

  import ExUnit.Assertions

  alias RateLimiter.Support.Documents

  @prompt "iex> "
  @continued "...> "
  @columns 98

  @doc """
  Defines the modules of a document. A module that is a test case runs with the other tests, so this is called while
  test files load.
  """
  @spec define(Path.t()) :: :ok
  def define(file) do
    for %{code: code} = snippet <- Documents.snippets(file), modules(code) != [] do
      refute Enum.any?(modules(code), &Code.ensure_loaded?/1), "#{at(snippet)} is defined twice"
      Code.eval_string(code, [], file: file, line: snippet.line)
    end

    :ok
  end

  @doc """
  Runs a document. Modules must have been defined before.

  Options: `:child`, called with the options of each `{RateLimiter, options}` that a snippet shows; `:pause`, called
  before each expression that is typed; `:binding`; `:prelude`, code that precedes each snippet.
  """
  @spec run(Path.t(), keyword) :: :ok
  def run(file, options \\ []) do
    options =
      Map.merge(
        %{child: &RateLimiter.Instance.Config.new!/1, pause: fn -> :ok end},
        Map.new(options)
      )

    binding = Map.get(options, :binding, [])
    snippets = Documents.snippets(file)
    assert snippets != [], "#{file} has no Elixir"
    Enum.reduce(snippets, binding, &snippet(&1, &2, options))
    :ok
  end

  @doc "Raises unless each Elixir snippet of a document is formatted, answers included."
  @spec formatted!(Path.t()) :: :ok
  def formatted!(file) do
    for %{code: code} = snippet <- Documents.snippets(file), source <- sources(code) do
      formatted = format(source)

      assert String.trim_trailing(source) == formatted,
             "#{at(snippet)} is not formatted, expected:\n#{formatted}"
    end

    :ok
  end

  defp sources(code) do
    if typed?(code) do
      for {expression, answer} <- typed(code),
          source <- [expression, answer],
          source != nil and not String.starts_with?(source, "** ("),
          do: source
    else
      [code]
    end
  end

  defp format(source) do
    source
    |> Code.format_string!(
      line_length: @columns,
      locals_without_parens: [plug: :*, socket: :*, channel: :*, live_session: :*]
    )
    |> IO.iodata_to_binary()
  end

  defp snippet(%{code: code} = snippet, binding, options) do
    cond do
      typed?(code) -> Enum.reduce(typed(code), binding, &type(&1, &2, snippet, options))
      code =~ ~r/^import Config$/m -> configure(snippet, binding)
      true -> evaluate(snippet, binding, options)
    end
  end

  defp evaluate(%{code: code} = snippet, binding, options) do
    case modules(code) do
      [] ->
        prelude = Map.get(options, :prelude, "") <> "\n"
        env = Code.env_for_eval(file: at(snippet))
        expressions = expressions(prelude) ++ expressions(code)
        {binding, _env} = Enum.reduce(expressions, {binding, env}, &expression(&1, &2, options))
        binding

      modules ->
        for module <- modules, do: assert(Code.ensure_loaded?(module))
        start_children(Code.string_to_quoted!(code), binding, options)
        binding
    end
  end

  defp expressions(code) do
    case Code.string_to_quoted!(code) do
      {:__block__, _, expressions} -> expressions
      expression -> [expression]
    end
  end

  defp expression(quoted, {binding, env}, options) do
    {_value, binding, env} = Code.eval_quoted_with_env(quoted, binding, env)
    start_children(quoted, binding, options)
    {binding, env}
  end

  defp start_children(quoted, binding, options) do
    {_quoted, children} = Macro.prewalk(quoted, [], &child/2)

    for child <- Enum.reverse(children) do
      {child_options, _binding} = Code.eval_quoted(child, binding)
      options.child.(child_options)
    end
  end

  defp child({{:__aliases__, _, [:RateLimiter]}, options} = node, children),
    do: {node, [options | children]}

  defp child(node, children), do: {node, children}

  defp configure(%{code: code} = snippet, binding) do
    assert [_ | _] = Config.Reader.eval!(at(snippet), code, env: :prod)
    binding
  end

  defp type({expression, answer}, binding, snippet, options) do
    options.pause.()

    case answer && Regex.run(~r/^\*\* \(([\w.]+)\) (.*)$/s, answer) do
      [_all, exception, message] ->
        assert_raise Module.concat([exception]), message, fn ->
          Code.eval_string(expression, binding)
        end

        binding

      nil ->
        {value, after_it} = Code.eval_string(expression, binding, file: at(snippet))

        if answer do
          {expected, _binding} = Code.eval_string(answer, after_it)
          assert value == expected, message(snippet, expression, answer, value)
        end

        after_it
    end
  end

  defp message(snippet, expression, answer, value),
    do: "#{at(snippet)}: #{expression}\nexpected #{answer}, got: #{inspect(value)}"

  defp typed?(code), do: String.starts_with?(code, @prompt)

  # The expressions of a snippet, each with the answer below it, or nil where the document shows none.
  defp typed(code) do
    code
    |> String.split("\n")
    |> Enum.reduce([], fn
      @prompt <> line, typed ->
        [{line, nil} | typed]

      @continued <> line, [{expression, nil} | typed] ->
        [{expression <> "\n" <> line, nil} | typed]

      "", typed ->
        typed

      line, [{expression, nil} | typed] ->
        [{expression, line} | typed]

      line, [{expression, answer} | typed] ->
        [{expression, answer <> "\n" <> line} | typed]
    end)
    |> Enum.reverse()
  end

  defp modules(code) do
    for [name] <- Regex.scan(~r/^defmodule ([\w.]+) do$/m, code, capture: :all_but_first),
        do: Module.concat([name])
  end

  defp at(%{file: file, line: line}), do: "#{file}:#{line}"
end
