defmodule RateLimiter.Store.Callers do
  @moduledoc false
  # The ids that call a limiter most, and those that are denied most, as the native library counts them.

  alias RateLimiter.Core.{Errors, Native}
  alias RateLimiter.Instance.{Config, Registry}
  alias RateLimiter.Store.{Id, Lookup}
  alias RateLimiter.Telemetry.IdHash

  @type row :: %{
          id: RateLimiter.id(),
          calls: non_neg_integer,
          denied: non_neg_integer
        }
  @type by :: :calls | :denied

  @doc "Begins to count, if the limiter asks for it."
  @spec start(Native.handle(), Config.limiter(), :monotonic | Native.clock()) :: :ok
  def start(handle, %{top: count, ids: ids}, clock) when count != nil,
    do: Native.count_top(handle, count, ids == :keep, clock)

  def start(_handle, _config, _clock), do: :ok

  @doc "Returns those with the highest counts, or `:off` if the limiter does not count."
  @spec most(Native.limiter(), window :: atom, by, pos_integer) :: [row] | :off
  def most(limiter, window, by, count) do
    case Native.top(limiter, window, by, count) do
      rows when is_list(rows) ->
        Enum.map(rows, &row/1)

      :off ->
        :off

      elsewhere when elsewhere in [:test_owned, :stopping] ->
        limiter |> Lookup.handle!() |> most(window, by, count)

      _unknown ->
        raise unknown(limiter, window)
    end
  end

  @doc "Returns the hash that stands for an id which is not kept."
  @spec hash(RateLimiter.id() | Native.large_id()) :: String.t()
  def hash(id) do
    case Native.id_key(id) do
      :large_id -> nil |> Id.hash!(id) |> hash()
      :bad_id -> raise Errors.bad_id(id)
      key -> IdHash.hash(key)
    end
  end

  defp row({label, calls, denied}), do: %{id: id(label), calls: calls, denied: denied}

  defp id({:id, bytes}), do: :erlang.binary_to_term(bytes)
  # The key itself tells where in the table a state lies.
  defp id({:key, key}), do: IdHash.hash(key)

  defp unknown(limiter, window) do
    case Lookup.windows(limiter) do
      nil -> Registry.unknown_limiter(limiter)
      windows -> Errors.unknown_window(window, limiter, Keyword.keys(windows))
    end
  end
end
