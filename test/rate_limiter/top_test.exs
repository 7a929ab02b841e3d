defmodule RateLimiter.TopTest do
  # Not async: the picture shows the whole node.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias RateLimiter.Top
  alias RateLimiter.Top.Snapshot

  @screen %{color: false, unicode: true}

  setup do
    start_supervised!(
      {RateLimiter,
       name: :top_shown, limiters: [top_shown: [windows: [burst: [limit: 3, per: :day]]]]}
    )

    :ok
  end

  test "print/1 prints one picture" do
    assert capture_io(fn -> Top.print(interval: 1) end) =~ ":top_shown"
    assert_raise ArgumentError, ~r/unknown keys/, fn -> Top.print(once: true) end
  end

  test "watch/4 ends when the reader of its output is gone" do
    # A terminal that was closed, or `head` that has seen enough.
    closed = spawn(fn -> refuse() end)

    watcher =
      Task.async(fn ->
        Process.group_leader(self(), closed)
        Top.watch(@screen, &Snapshot.take/0, 1, :infinity)
      end)

    assert Task.await(watcher, :infinity) == :ok
    Process.exit(closed, :kill)
  end

  defp refuse do
    receive do
      {:io_request, from, reference, _request} ->
        send(from, {:io_reply, reference, {:error, :terminated}})
    end

    refuse()
  end
end
