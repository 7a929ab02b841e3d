defmodule RateLimiter.Sensors.MailboxesTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.Mailboxes

  defp waiting(messages) do
    pid = start_supervised!({Task, fn -> Process.sleep(:infinity) end}, id: make_ref())
    for n <- 1..messages//1, do: send(pid, n)
    pid
  end

  test "the longest queue of the watched processes is read, by pid or by name" do
    {short, long} = {waiting(2), waiting(7)}
    Process.register(long, :mailboxes_test)

    for watch <- [
          [short, long],
          [:mailboxes_test, short],
          [:mailboxes_test, :mailboxes_test_none]
        ] do
      state = Mailboxes.init(watch: watch)
      assert Mailboxes.measure(state) == {:ok, 7, watch}
    end

    assert {:ok, 2, _} = Mailboxes.measure([short])
    assert {:ok, 0, _} = Mailboxes.measure([waiting(0)])
  end

  test "without a running process there is no opinion, and the watched stay watched" do
    dead = spawn(fn -> :ok end)
    ref = Process.monitor(dead)
    assert_receive {:DOWN, ^ref, :process, ^dead, _reason}, 5_000
    watch = [:mailboxes_test_none, dead]
    assert {:no_opinion, reason, ^watch} = Mailboxes.measure(watch)
    assert reason =~ "mailboxes_test_none"
  end
end
