defmodule Bench.Keys do
  @moduledoc false
  # The ids in random order, as tuples in persistent terms: read without a copy, and no garbage collection looks at them.
  #
  # They lie in memory in the order in which they are asked about, so that the processor has the next ones in its cache
  # when their turn comes: as it has the id of a request that was just read. Where their states lie is another matter.

  @spec tuple(pos_integer) :: tuple
  def tuple(count) do
    key = {__MODULE__, count}

    with nil <- :persistent_term.get(key, nil) do
      :persistent_term.put(key, count |> list() |> List.to_tuple())
      :persistent_term.get(key)
    end
  end

  defp list(count) do
    :rand.seed(:exsss, {1, 2, 3})
    for number <- Enum.shuffle(1..count), do: "user:#{number + 10_000_000}"
  end
end
