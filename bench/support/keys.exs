defmodule Bench.Keys do
  @moduledoc false
  # The ids in random order, as tuples in persistent terms, which are read without a copy and not garbage collected.
  #
  # They lie in memory in the order of the calls, so that the next id is in the processor's cache, like the id of a request
  # that was just read. Their states lie in another order.

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
