defmodule RateLimiter.Store.Id do
  @moduledoc false
  # Ids: which terms are valid, and the long way for those that are large.
  #
  # The native library hashes an id on the scheduler of its caller. It refuses one of more than 64 kB, or of some thousand
  # parts, which would hold the scheduler: such an id is hashed on a dirty scheduler, and the call is made with the result.

  alias RateLimiter.Core.{Errors, Native}

  @doc "Returns whether a term is an id: a binary, an integer, an atom but nil, or a tuple or list of these."
  @spec valid?(term) :: boolean
  def valid?(id) when is_binary(id) or is_integer(id), do: true
  def valid?(id) when is_atom(id), do: id != nil
  def valid?(id) when is_tuple(id), do: id |> Tuple.to_list() |> all_valid?()
  def valid?(id), do: all_valid?(id)

  defp all_valid?([part | rest]), do: valid?(part) and all_valid?(rest)
  defp all_valid?(rest), do: rest == []

  @doc "Returns what takes the place of a large id in calls about this limiter."
  @spec hash!(Native.limiter(), RateLimiter.id()) :: Native.large_id()
  def hash!(limiter, id) do
    case Native.hash_id(limiter, id) do
      large when is_reference(large) -> large
      :bad_id -> raise Errors.bad_id(id)
    end
  end
end
