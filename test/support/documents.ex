defmodule RateLimiter.Support.Documents do
  @moduledoc false
  # What people read first, as modules, so that its `iex>` examples run as doctests do.

  @root Path.expand("../..", __DIR__)

  for {module, file} <- [Readme: "README.md", Limits: "guides/limits.md", Vsm: "guides/vsm.md"] do
    path = Path.join(@root, file)

    defmodule Module.concat(__MODULE__, module) do
      @external_resource path
      @moduledoc File.read!(path)
    end
  end

  @doc "A file of the project, from its root."
  def path(file), do: Path.join(@root, file)

  @doc "The Elixir of a file that has no `iex>` in it, block by block."
  def blocks(file) do
    ~r/^```elixir\n(.*?)^```/ms
    |> Regex.scan(File.read!(path(file)), capture: :all_but_first)
    |> Enum.map(&hd/1)
    |> Enum.reject(&(&1 =~ ~r/^iex>/m))
  end

  @doc "The user that the guide to Redis describes, as `ACL SETUSER` takes it."
  def rights do
    [_all, rights] =
      Regex.run(~r/<!-- acl -->\n```\nuser (.*?)\n```/s, File.read!(path("guides/redis.md")))

    rights
  end

  @doc "Where a file's links and pictures lead, but for those to other sites."
  def links(file) do
    ~r/\]\((?!https?:)([^)#]+)/
    |> Regex.scan(File.read!(path(file)), capture: :all_but_first)
    |> Enum.map(fn [link] -> link |> Path.expand(Path.dirname(path(file))) end)
  end
end
