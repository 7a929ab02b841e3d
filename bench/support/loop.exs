defmodule Bench.Loop do
  @moduledoc false
  # A loop of its own for each subject: a call through a fun would cost as much as some of what is measured.
  #
  #     defloop :ets, id, do: :ets.update_counter(:table, id, 1)
  #
  # defines `ets(count, keys, size, at)`, which makes `count` calls about the `size` ids in the tuple `keys`, in turn, from
  # the one at `at` on.

  defmacro defloop(name, id, do: body) do
    quote do
      def unquote(name)(0, _keys, _size, _at), do: :ok

      def unquote(name)(count, keys, size, at) do
        unquote(id) = elem(keys, at)
        unquote(body)
        unquote(name)(count - 1, keys, size, Bench.Loop.next(at, size))
      end
    end
  end

  defmacro next(at, size) do
    quote do
      case unquote(at) + 1 do
        unquote({:^, [], [size]}) -> 0
        next -> next
      end
    end
  end
end
