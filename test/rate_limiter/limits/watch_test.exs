defmodule RateLimiter.Limits.WatchTest do
  # Not async: the log is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog
  import RateLimiter.Support.Eventually

  alias RateLimiter.Limits

  @moduletag :tmp_dir
  @moduletag :capture_log

  defp json(limit) do
    windows = for name <- ~w(a b c), do: ~s("#{name}": {"limit": #{limit}, "per": "day"})
    ~s({"watched": {"windows": {#{Enum.join(windows, ", ")}}}})
  end

  defp start(name, source, options \\ []) do
    start_supervised!({RateLimiter, [name: name, limits: source] ++ options}, id: name)
  end

  defp max(limiter), do: with({:ok, usage} <- RateLimiter.get_usage(limiter, "u"), do: usage.max)

  # The test may run while another one has attached its own handler, hence the filter.
  defp listen(name) do
    test = self()

    :telemetry.attach(
      test,
      [:rate_limiter, :limits, :refused],
      &__MODULE__.forward/4,
      {test, name}
    )

    on_exit(fn -> :telemetry.detach(test) end)
  end

  def forward(_event, measurements, %{instance: name} = metadata, {test, name}),
    do: send(test, {:refused, measurements, metadata})

  def forward(_event, _measurements, _metadata, _test), do: :ok

  test "a file is read at start, and followed through changes, faults and its end", %{
    tmp_dir: folder
  } do
    path = Path.join(folder, "limits.json")
    File.write!(path, json(5))

    own = [
      own: [windows: [w: [limit: 3, per: :day]]],
      watched: [windows: [a: [limit: 1, per: :day]]]
    ]

    source = {:file, path, every: {10, :millisecond}}

    # A window cannot be added to a limiter of the options, neither at start.
    assert_raise ArgumentError,
                 ~r/^limits: .*limits.json: watched.windows.b: expected a window that/,
                 fn ->
                   RateLimiter.start_link(name: :file_watched, limits: source, limiters: own)
                 end

    start(:file_watched, source, limiters: Keyword.take(own, [:own]))
    listen(:file_watched)
    assert {max(:watched), max(:own)} == {5, 3}
    {:ok, _} = RateLimiter.check_and_track(:watched, "u", cost: 2)

    File.write!(path, json(7))
    eventually(fn -> max(:watched) == 7 end)
    assert {:ok, %{current: 2}} = RateLimiter.get_usage(:watched, "u")
    # The history follows the change.
    last = fn -> List.first(Limits.history(1, :file_watched)) end
    eventually(fn -> match?(%{by: ^path, diff: [_, _, _]}, last.()) end)

    # Invalid, once: then gone.
    log =
      capture_log(fn ->
        File.write!(path, json(~s("many")))
        assert_receive {:refused, %{reasons: 3}, %{source: ^path, reason: reason}}, 5_000

        assert reason =~
                 ~s(watched.windows.a.limit: expected a positive integer, got: "many"; watched.windows.b)
      end)

    assert log =~
             "RateLimiter :file_watched: #{path} is refused, and limits stay as they are: watched"

    refute_receive {:refused, _, _}, 100
    File.rm!(path)

    assert_receive {:refused, %{reasons: 1}, %{reason: "cannot be read: no such file" <> _}},
                   5_000

    assert max(:watched) == 7

    # What would deny all present ids needs a hand.
    File.write!(path, json(1))

    assert_receive {:refused, _,
                    %{reason: "watched: expected limits that deny at most 50 %" <> _}},
                   5_000

    {:ok, limits} = Limits.read(path)
    assert {:ok, [_, _, _]} = Limits.apply(limits, force: true, instance: :file_watched)
    File.write!(path, json(9))
    eventually(fn -> max(:watched) == 9 end)
    assert max(:own) == 3
  end

  test "a file that is swapped by a symbolic link mixes in no answer", %{tmp_dir: folder} do
    # As Kubernetes mounts a ConfigMap: limits.json -> ..data/limits.json, and ..data -> a folder that is replaced. All
    # versions have one size, and mostly one time.
    version = fn limit ->
      versioned = Path.join(folder, "..#{System.unique_integer([:positive])}")
      File.mkdir_p!(versioned)
      File.write!(Path.join(versioned, "limits.json"), json(limit))
      File.ln_s!(versioned, Path.join(folder, "..new"))
      File.rename!(Path.join(folder, "..new"), Path.join(folder, "..data"))
    end

    version.(1_000_001)
    path = Path.join(folder, "limits.json")
    File.ln_s!("..data/limits.json", path)
    start(:swapped, {:file, path, every: {5, :millisecond}})
    done = :counters.new(1, [])

    callers =
      for n <- 1..8 do
        Task.async(fn -> answers(n, done, 0) end)
      end

    for limit <- 1_000_002..1_000_020 do
      version.(limit)
      eventually(fn -> max(:watched) == limit end)
    end

    :counters.put(done, 1, 1)
    assert callers |> Task.await_many(:infinity) |> Enum.sum() > 0
  end

  test "a function is called at start and then again, and may fail" do
    limits = :counters.new(1, [])
    :counters.put(limits, 1, 5)

    read = fn ->
      case :counters.get(limits, 1) do
        0 -> {:error, :no_database}
        1 -> raise "postgres://admin:secret@db"
        2 -> exit(:timeout)
        limit -> %{"watched" => %{"windows" => %{"a" => %{"limit" => limit, "per" => "day"}}}}
      end
    end

    start(:called, {:function, read, every: {10, :millisecond}, max_denied: 1})
    listen(:called)
    assert max(:watched) == 5

    for {limit, reason} <- [
          {0, "the function returned {:error, :no_database}"},
          {1, "the function raised RuntimeError"},
          {2, "the function failed with exit"}
        ] do
      :counters.put(limits, 1, limit)
      assert_receive {:refused, %{reasons: 1}, %{reason: ^reason}}, 5_000
    end

    {:ok, _} = RateLimiter.check_and_track(:watched, "u", cost: 3)
    :counters.put(limits, 1, 3)
    eventually(fn -> max(:watched) == 3 end)

    :counters.put(limits, 1, 1)

    assert_raise ArgumentError,
                 ~r/^limits: RateLimiter.Limits.WatchTest.*: the function raised RuntimeError$/,
                 fn ->
                   RateLimiter.start_link(name: :never, limits: {:function, read})
                 end
  end

  test "of many reasons the first ten are reported, and the number of the others", %{
    tmp_dir: folder
  } do
    path = Path.join(folder, "limits.json")
    File.write!(path, json(5))
    start(:reasons, {:file, path, every: {10, :millisecond}})
    listen(:reasons)
    windows = for n <- 1..30, do: ~s("w#{n}": {"limit": 0, "per": "day"})
    File.write!(path, ~s({"watched": {"windows": {#{Enum.join(windows, ", ")}}}}))
    assert_receive {:refused, %{reasons: 30}, %{reason: reason}}, 5_000
    assert length(String.split(reason, "; ")) == 11
    assert reason =~ ~r/; and 20 more$/
  end

  test "file/1 returns the limits of a file, or the reasons", %{tmp_dir: folder} do
    path = Path.join(folder, "limits.toml")
    File.write!(path, "[watched.windows.w]\nlimit = 1\nper = \"day\"")
    assert Limits.Watch.file(path) == {:ok, [watched: [windows: [w: [limit: 1, per: :day]]]]}

    assert Limits.Watch.file(path <> "x") ==
             {:error, ["cannot be read: no such file or directory"]}
  end

  # Each answer has one maximum in all its windows.
  defp answers(id, done, count) do
    {:ok, usage} = RateLimiter.check_and_track(:watched, id)
    assert [_one] = usage.windows |> Map.values() |> Enum.map(& &1.max) |> Enum.uniq()
    if :counters.get(done, 1) == 0, do: answers(id, done, count + 1), else: count
  end
end
