defmodule RateLimiter.Support.Documents do
  @moduledoc false
  # The Markdown files of this project, and their snippets, so that tests can run every one of them.

  @root Path.expand("../..", __DIR__)
  @repository "https://github.com/exact-rate-limiter/exact_rate_limiter/blob/main/"

  @type snippet :: %{file: Path.t(), line: pos_integer, language: String.t(), code: String.t()}

  @doc "Returns the absolute path of a file of the project."
  @spec path(Path.t()) :: Path.t()
  def path(file), do: Path.join(@root, file)

  @doc "Returns the content of a file of the project."
  @spec read(Path.t()) :: String.t()
  def read(file), do: file |> path() |> File.read!()

  @doc "Returns the documents that users and contributors read."
  @spec all() :: [Path.t()]
  def all do
    for pattern <- ~w(*.md guides/*.md bench/README.md test/vectors/README.md),
        file <- Path.wildcard(path(pattern)),
        do: Path.relative_to(file, @root)
  end

  @doc "Returns the fenced blocks of a file in one language, in order. `line` is that of the first line of code."
  @spec snippets(Path.t(), String.t()) :: [snippet]
  def snippets(file, language \\ "elixir") do
    {snippets, nil} =
      file
      |> read()
      |> String.split("\n")
      |> Enum.with_index(1)
      |> Enum.reduce({[], nil}, &line(&1, &2, file))

    snippets |> Enum.filter(&(&1.language == language)) |> Enum.reverse()
  end

  defp line({"```" <> language, number}, {snippets, nil}, file),
    do: {snippets, %{file: file, line: number + 1, language: language, code: ""}}

  defp line({"```", _number}, {snippets, open}, _file), do: {[open | snippets], nil}
  defp line(_prose, {snippets, nil}, _file), do: {snippets, nil}

  defp line({code, _number}, {snippets, open}, _file),
    do: {snippets, %{open | code: open.code <> code <> "\n"}}

  @doc "Returns a file's text without its fenced blocks, inline code and comments."
  @spec prose(Path.t()) :: String.t()
  def prose(file),
    do: Regex.replace(~r/^```.*?^```|`[^`\n]+`|<!--.*?-->/ms, read(file), "")

  @doc "Returns the user that the guide to Redis describes, as `ACL SETUSER` takes it."
  @spec rights() :: String.t()
  def rights do
    [_all, rights] = Regex.run(~r/<!-- acl -->\n```\nuser (.*?)\n```/s, read("guides/redis.md"))

    rights
  end

  @doc """
  Returns the targets of a file's links and pictures, without those on other sites. Files that are not part of the
  published documentation are linked by their address in the repository.
  """
  @spec links(Path.t()) :: [Path.t()]
  def links(file) do
    in_repository =
      for [link] <- Regex.scan(~r/#{@repository}([^)\s#]+)/, read(file), capture: :all_but_first),
          do: path(link)

    in_repository ++ relative_links(file)
  end

  defp relative_links(file) do
    ~r/\]\((?!https?:|#)([^)#]+)|src="(?!https?:)([^"]+)"/
    |> Regex.scan(read(file), capture: :all_but_first)
    |> Enum.map(fn captures ->
      captures |> List.last() |> Path.expand(Path.dirname(path(file)))
    end)
  end

  @folders ~w(bench bin config guides lab lib mix native test vendor)
  @examples ~r/my_app|shop/

  @doc "Returns the paths of this project that a file names as inline code."
  @spec paths(Path.t()) :: [Path.t()]
  def paths(file) do
    for [path] <-
          Regex.scan(~r/`((?:#{Enum.join(@folders, "|")})\/[^`\s]*)`/, read(file),
            capture: :all_but_first
          ),
        not (path =~ @examples),
        do: path
  end

  @doc "Returns the links of a file to headings, each with the document that has the heading."
  @spec anchored_links(Path.t()) :: [{Path.t(), String.t()}]
  def anchored_links(file) do
    for [target, anchor] <-
          Regex.scan(~r/\]\((?!https?:)([^)#]*)#([^)]+)\)/, read(file), capture: :all_but_first) do
      {if(target == "", do: file, else: Path.join(Path.dirname(file), target)), anchor}
    end
  end

  @doc "Returns the headings of a file as the anchors that links use."
  @spec anchors(Path.t()) :: [String.t()]
  def anchors(file) do
    for [heading] <- Regex.scan(~r/^#+ (.+)$/m, prose(file), capture: :all_but_first) do
      heading
      |> String.downcase()
      |> String.replace(~r/[^\w\- ]/u, "")
      |> String.replace(" ", "-")
    end
  end
end
