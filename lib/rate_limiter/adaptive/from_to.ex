defmodule RateLimiter.Adaptive.FromTo do
  @moduledoc false
  # A change of scale in words, with as many digits as it takes to see it.

  @digits 2..6

  @doc """
  Both scales.

      iex> RateLimiter.Adaptive.FromTo.words(1.0, 0.7)
      "from 1.0 to 0.7"
      iex> RateLimiter.Adaptive.FromTo.words(0.1, 0.101)
      "from 0.1 to 0.101"
  """
  @spec words(number, number) :: String.t()
  def words(from, to) do
    digits = Enum.find(@digits, 6, &(rounded(from, &1) != rounded(to, &1)))
    "from #{rounded(from, digits)} to #{rounded(to, digits)}"
  end

  defp rounded(scale, digits), do: Float.round(scale * 1.0, digits)
end
