defmodule RateLimiter.Instance.CheckpointTest do
  # Counts of an instance that stops and starts again, in this runtime and in another one.
  use ExUnit.Case, async: true

  alias RateLimiter.Instance.{Checkpoint, Registry}
  alias RateLimiter.Support.Nodes
  alias RateLimiter.Support.Nodes.Guest

  @moduletag :tmp_dir
  @moduletag :capture_log

  # Ids of every kind: an atom has another number in another runtime.
  @ids [
    "ann",
    7,
    -1,
    :guest,
    {:user, 7},
    {"user", [:a, 1, "b"]},
    2 ** 80,
    String.duplicate("x", 70_000)
  ]

  # A name for each test, because names of limiters are unique on a node.
  setup context do
    limiter = context.test

    %{
      limiter: limiter,
      options: [
        name: context.test,
        limiters: [
          {limiter, [windows: [minute: [limit: 10, per: :minute, algorithm: :sliding_log]]]}
        ],
        checkpoint: [path: context.tmp_dir, keep: 2]
      ]
    }
  end

  defp start!(options), do: start_supervised!({RateLimiter, options})
  defp stop!(options), do: :ok = stop_supervised(options[:name])

  defp with_limiters(options, limiters), do: Keyword.put(options, :limiters, limiters)

  defp left(limiter, id) do
    {:ok, usage} = RateLimiter.get_usage(limiter, id, :minute)
    usage.remaining
  end

  defp files(%{tmp_dir: dir}), do: dir |> File.ls!() |> Enum.sort()

  defp events(instance, changes) do
    test = self()
    events = for change <- changes, do: [:rate_limiter, :checkpoint, change]
    name = make_ref()

    :telemetry.attach_many(
      name,
      events,
      # Handlers hear all tests.
      fn [_, _, change], measurements, metadata, _ ->
        if metadata.instance in [instance, {:other, instance}],
          do: send(test, {change, measurements, metadata})
      end,
      nil
    )

    on_exit(fn -> :telemetry.detach(name) end)
  end

  describe "a restart" do
    test "continues with what each id has used",
         %{options: options, limiter: limiter} = context do
      events(options[:name], [:saved, :restored])
      start!(options)

      for {id, cost} <- Enum.with_index(@ids, 1),
          do: {:ok, _} = RateLimiter.check_and_track(limiter, id, :minute, cost: cost)

      stop!(options)
      name = options[:name]

      assert_received {:saved, %{keys: 8, bytes: bytes, duration_ms: _},
                       %{instance: ^name, file: file}}

      assert File.stat!(file).size == bytes
      start!(options)

      assert_received {:restored, %{keys: 8, left_out: 0, age_ms: age},
                       %{instance: ^name, file: ^file, dropped: []}}

      assert age in 0..60_000
      for {id, cost} <- Enum.with_index(@ids, 1), do: assert(left(limiter, id) == 10 - cost)
      assert RateLimiter.health_check(name) == :ok
      assert %{problem: nil, age_ms: nil, keys: nil} = RateLimiter.stats(name).checkpoint
      assert [_one] = files(context)
    end

    test "of another runtime continues as well, whatever kind the ids are", context do
      %{options: options, limiter: limiter} = context
      [node] = Nodes.start!(1)
      :ok = Nodes.call(node, Guest, :serve_alone, [options])
      # So that atoms have other numbers there than in the next runtime.
      for n <- 1..50, do: Nodes.call(node, String, :to_atom, ["only_there_#{n}"])

      for id <- @ids,
          do:
            {:ok, _} =
              Nodes.call(node, RateLimiter, :check_and_track, [limiter, id, :minute, [cost: 4]])

      :ok = Nodes.call(node, Guest, :leave, [])
      Nodes.kill(node)

      [next] = Nodes.start!(1)
      :ok = Nodes.call(next, Guest, :serve_alone, [options])

      for id <- @ids do
        {:ok, usage} = Nodes.call(next, RateLimiter, :get_usage, [limiter, id, :minute])
        assert usage.remaining == 6, inspect(id, limit: 20, printable_limit: 20)
      end

      # This runtime has hashed ids already, so it cannot find these.
      events(options[:name], [:refused])
      start!(options)
      assert_received {:refused, %{count: 1}, %{file: refused, reason: reason}}
      assert reason =~ "under another secret"
      assert Path.extname(refused) == ".refused" and File.exists?(refused)
      assert left(limiter, "ann") == 10
      assert {:degraded, {:checkpoint, problem}} = RateLimiter.health_check(options[:name])
      assert problem =~ reason
    end

    test "with other limits keeps what they have in common", %{options: options, limiter: limiter} do
      start!(options)
      {:ok, _} = RateLimiter.check_and_track(limiter, "ann", :minute, cost: 4)
      stop!(options)
      events(options[:name], [:restored])

      windows = [
        minute: [limit: 100, per: :hour, algorithm: :sliding_log],
        day: [limit: 5, per: :day]
      ]

      start!(with_limiters(options, [{limiter, [windows: windows]}]))
      assert_received {:restored, %{keys: 1}, %{dropped: []}}
      assert left(limiter, "ann") == 96
      assert {:ok, %{remaining: 5}} = RateLimiter.get_usage(limiter, "ann", :day)
      stop!(options)

      # The limiter is gone, then its window has another algorithm: both begin anew, and say so.
      start!(with_limiters(options, []))
      text = Atom.to_string(limiter)
      assert_received {:restored, %{keys: 0}, %{dropped: [^text]}}
      File.rm!(List.last(Path.wildcard(options[:checkpoint][:path] <> "/*.checkpoint")))
      stop!(options)
    end

    test "refuses a damaged file, keeps it, and reads the one before", context do
      %{options: options, limiter: limiter, tmp_dir: dir} = context

      for _time <- 1..2 do
        start!(options)
        {:ok, _} = RateLimiter.check_and_track(limiter, "ann", :minute, cost: 3)
        stop!(options)
      end

      [_older, newest] = files(context)
      File.write!(Path.join(dir, newest), "scribble", [:append])
      events(options[:name], [:refused, :restored])

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          start!(options)
        end)

      assert log =~
               ~r/does not continue from .*refused: the file is damaged: something follows its end/

      assert_received {:refused, _, %{reason: "the file is damaged: something follows its end"}}
      assert_received {:restored, %{keys: 1}, _}
      assert left(limiter, "ann") == 7
      assert {:degraded, {:checkpoint, _}} = RateLimiter.health_check(options[:name])
      # The next file ends the problem, and takes no other's place.
      Checkpoint.save(
        Registry.instance(options[:name]),
        Checkpoint.new!(options[:checkpoint], [])
      )

      assert RateLimiter.health_check(options[:name]) == :ok
      assert length(files(context)) == 3
    end

    test "does not continue from the file of another instance", %{options: options} do
      start!(options)
      stop!(options)
      events(options[:name], [:refused])
      start!(Keyword.put(options, :name, {:other, options[:name]}))
      assert_received {:refused, _, %{reason: "the file is of another instance"}}
    end

    test "leaves out ids for which there is no room", %{options: options, limiter: limiter} do
      start!(options)
      for id <- 1..9, do: {:ok, _} = RateLimiter.check_and_track(limiter, id, :minute)
      stop!(options)
      events(options[:name], [:restored])
      windows = [minute: [limit: 10, per: :minute, algorithm: :sliding_log]]
      start!(with_limiters(options, [{limiter, [windows: windows, max_keys: 6]}]))
      assert_received {:restored, %{keys: keys, left_out: left_out}, _}
      assert keys + left_out == 9 and left_out > 0
    end
  end

  describe "save/2" do
    test "that fails changes nothing, and is reported", %{
      options: options,
      limiter: limiter,
      tmp_dir: dir
    } do
      start!(options)
      {:ok, _} = RateLimiter.check_and_track(limiter, "ann", :minute)
      instance = Registry.instance(options[:name])
      # A file where the folder should be.
      blocked = Path.join(dir, "blocked")
      File.write!(blocked, "")
      events(options[:name], [:failed])

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          Checkpoint.save(instance, %{path: blocked, keep: 1, every: :infinity})
        end)

      assert log =~ "cannot save a checkpoint:"
      assert_received {:failed, %{count: 1}, %{action: :save, reason: reason}}
      assert RateLimiter.health_check(options[:name]) == {:degraded, {:checkpoint, reason}}
      assert %{problem: ^reason} = RateLimiter.stats(options[:name]).checkpoint
      assert left(limiter, "ann") == 9
    end

    test "keeps the newest files only", %{options: options} = context do
      start!(options)
      instance = Registry.instance(options[:name])
      for _ <- 1..4, do: Checkpoint.save(instance, Checkpoint.new!(options[:checkpoint], []))
      assert [third, fourth] = files(context)

      assert {third, fourth} ==
               {"00000000000000000003.checkpoint", "00000000000000000004.checkpoint"}
    end
  end

  describe "the options" do
    test "are validated with their path" do
      for {options, message} <- [
            {[], "checkpoint.path: is required, expected a string"},
            {[path: :here], "checkpoint.path: expected a string, got: :here"},
            {[path: "a", every: 0],
             "checkpoint.every: expected an integer from 1 to 283824000000 or :infinity, got: 0"},
            {[path: "a", keep: 0], "checkpoint.keep: expected an integer from 1 to 1000, got: 0"},
            {[path: "a", evry: 1], "checkpoint: unknown option :evry, did you mean :every?"},
            {"folder",
             ~s(checkpoint: expected a keyword list or a map with atoms as keys, got: "folder")}
          ] do
        error =
          assert_raise ArgumentError, fn ->
            RateLimiter.Instance.Config.new!(checkpoint: options)
          end

        assert error.message == message
      end
    end

    test "name a folder that can be written to, before anything starts", %{
      options: options,
      tmp_dir: dir
    } do
      blocked = Path.join(dir, "file")
      File.write!(blocked, "")
      options = Keyword.put(options, :checkpoint, path: blocked)

      assert_raise ArgumentError,
                   ~r/^checkpoint.path: expected a folder that can be written to, got: ".*file" \(/,
                   fn ->
                     RateLimiter.start_link(options)
                   end

      assert RateLimiter.health_check(options[:name]) == {:error, :not_running}
    end

    test "are refused with a Redis store, which keeps its counts by itself" do
      assert_raise ArgumentError,
                   ~r/^checkpoint: expected store: :local, because a shared store keeps/,
                   fn ->
                     RateLimiter.Instance.Config.new!(
                       store: {:redis, url: "redis://127.0.0.1"},
                       checkpoint: [path: "a"]
                     )
                   end
    end
  end
end
