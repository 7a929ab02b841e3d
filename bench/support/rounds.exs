defmodule Bench.Rounds do
  @moduledoc false
  # Runs the subjects in turns, in each round another one first, so that other load on the machine affects all alike.

  @type load :: %{
          keys: tuple,
          count: pos_integer,
          rounds: pos_integer,
          processes: [pos_integer]
        }

  @doc """
  Returns nanoseconds a check, one figure a round, for each subject with each number of processes.

  An untimed run of half the length precedes each timed one, so that the caches hold the subject's own data.
  """
  @spec measure([atom], load) :: %{{atom, pos_integer} => [float]}
  def measure(subjects, load) do
    figures =
      for round <- 0..(load.rounds - 1),
          subject <- rotate(subjects, round),
          processes <- load.processes,
          do: {{subject, processes}, run(subject, processes, load)}

    # Still in the order of the rounds, within which ratios are taken.
    Enum.group_by(figures, &elem(&1, 0), &elem(&1, 1))
  end

  defp rotate(subjects, round) do
    {head, tail} = Enum.split(subjects, rem(round, length(subjects)))
    tail ++ head
  end

  # The mean of the processes, each on a scheduler of its own, since they could share one for a while.
  defp run(subject, processes, load) do
    runners = for number <- 1..processes, do: start(subject, number, load)
    for {pid, _monitor} <- runners, do: receive(do: ({^pid, :ready} -> :ok))
    for {pid, _monitor} <- runners, do: send(pid, :go)
    times = for {pid, _monitor} <- runners, do: receive(do: ({^pid, time} -> time))
    for {_pid, monitor} <- runners, do: receive(do: ({:DOWN, ^monitor, _, _, _} -> :ok))
    Enum.sum(times) / processes / load.count
  end

  defp start(subject, number, %{keys: keys, count: count}) do
    parent = self()
    size = tuple_size(keys)
    first = div(size * (number - 1), 2)
    warm_up = div(count, 2)
    next = rem(first + warm_up, size)
    # `:scheduler` is not documented, but has existed for long.
    placed = [:link, :monitor, {:scheduler, rem(number - 1, System.schedulers_online()) + 1}]

    :erlang.spawn_opt(
      fn ->
        apply(Bench.Subjects, subject, [warm_up, keys, size, first])
        send(parent, {self(), :ready})
        receive do: (:go -> :ok)
        start = :erlang.monotonic_time(:nanosecond)
        apply(Bench.Subjects, subject, [count, keys, size, next])
        send(parent, {self(), :erlang.monotonic_time(:nanosecond) - start})
      end,
      placed
    )
  end
end
