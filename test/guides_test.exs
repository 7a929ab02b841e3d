for file <- ~w(traffic svg pictures sub_windows) do
  Code.require_file("../guides/images/#{file}.exs", __DIR__)
end

defmodule RateLimiter.GuidesTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Documents

  doctest Documents.Limits

  @draw "it is not what the limiter does now: mix run guides/images/draw.exs"

  describe "guides/limits.md" do
    test "its pictures show what the limiter does" do
      for {file, content} <- Guides.Pictures.all() do
        assert File.read!(Documents.path("guides/images/#{file}")) == content, "#{file}: #{@draw}"
      end
    end

    test "its table of sub-windows says what they cost" do
      assert File.read!(Documents.path("guides/limits.md")) =~ Guides.SubWindows.table(),
             @draw
    end

    test "a key takes no more memory than it says" do
      guide = File.read!(Documents.path("guides/limits.md"))

      for {row, window} <- [
            {"`:token_bucket`", []},
            {"`:fixed_window`", [algorithm: :fixed_window]},
            {"`:sliding_window`, 10 sub-windows", [algorithm: :sliding_window]},
            {"`:sliding_log`, up to 4 stamps", [algorithm: :sliding_log]}
          ] do
        [_row, said] = Regex.run(~r/^\| #{Regex.escape(row)} \| (\d+) \|$/m, guide)
        # "About": how full the table is at the moment makes some difference.
        assert bytes_a_key(window) <= 1.1 * String.to_integer(said), row
      end
    end

    test "has no Elixir that does not run" do
      assert Documents.blocks("guides/limits.md") == []
    end
  end

  describe "guides/vsm.md" do
    defmodule Subsystems do
      # What the guide starts, under a clock that stands still.
      use ExUnit.Case, async: true

      setup do
        RateLimiter.Test.start(vsm: true)
      end

      doctest Documents.Vsm
    end

    test "explains all that can hold a scale" do
      {:ok, types} = Code.Typespec.fetch_types(RateLimiter.Adaptive.Decision)
      [union] = for {:type, {:held_by, {:type, _, :union, union}, []}} <- types, do: union
      held = for {:atom, _, name} <- union, name != nil, do: name
      assert :dead_band in held

      guide = File.read!(Documents.path("guides/vsm.md"))
      [row] = Regex.run(~r/^\| `:held_by` \|.*$/m, guide)
      named = for [name] <- Regex.scan(~r/`:(\w+)`/, row, capture: :all_but_first), do: name

      # What is no law's word: of a sensor, a measure, a law that fails, and the store.
      others = [:held_by, :no_opinion, :law_failed, :store]
      assert Enum.sort(named) == Enum.sort(Enum.map(held ++ others, &Atom.to_string/1))
    end

    test "its test does what it says" do
      task =
        Task.async(fn ->
          Process.delete(:"$callers")

          RateLimiter.Test.start(
            name: :guide,
            vsm: [subsystems: [search: [limit: 100, per: :second]]]
          )

          for _ <- 1..10 do
            RateLimiter.Algedonic.pain(:search, 0.8, source: :probe, instance: :guide)
            RateLimiter.Test.advance(:second)
          end

          RateLimiter.VSM.subsystem_metrics(:guide).search.scale
        end)

      assert Task.await(task, :infinity) < 0.8
    end

    test "its subsystems that share a capacity are options that an instance takes" do
      guide = File.read!(Documents.path("guides/vsm.md"))
      [_all, options] = Regex.run(~r/^(vsm: \[\n.*?^\])\n```/ms, guide)
      {options, []} = Code.eval_string("[#{options}]")

      assert %{vsm: %{subsystems: [{:db, %{shared: true, target: 250}} | _]}} =
               RateLimiter.Config.new!(options)
    end
  end

  describe "guides/redis.md" do
    test "has options that an instance takes" do
      for block <- Documents.blocks("guides/redis.md"),
          expression <- String.split(block, ~r/\n(?=#|\{)/),
          expression =~ ~r/^\{/m do
        # The files are not there, and the variable is not set.
        expression = String.replace(expression, ~r/, (ssl: \[.*\]|password: \{.*?\})/, "")

        case Code.eval_string(expression) do
          {{:redis, options}, _} ->
            RateLimiter.Config.new!(store: {:redis, Keyword.delete(options, :username)})

          {{RateLimiter, options}, _} ->
            RateLimiter.Config.new!(options)
        end
      end
    end
  end

  test "links lead somewhere" do
    for path <- Path.wildcard(Documents.path("guides/*.md")),
        link <- path |> Path.relative_to(Documents.path("")) |> Documents.links(),
        do: assert(File.exists?(link), "#{path}: #{link} is missing")
  end

  # Each in a process of its own, and so with limiters of its own.
  defp bytes_a_key(window) do
    task =
      Task.async(fn ->
        windows = [each: window ++ [limit: 10, per: :day]]
        RateLimiter.Test.start(limiters: [memory: [windows: windows, events: :none]])
        for id <- 1..50_000, do: {:ok, _} = RateLimiter.check_and_track(:memory, id)
        RateLimiter.stats()
      end)

    %{keys: 50_000, memory: bytes} = Task.await(task, :infinity)
    bytes / 50_000
  end
end
