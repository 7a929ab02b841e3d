defmodule RateLimiter.Agreement.Codec do
  @moduledoc false
  # Terms as bytes in Redis, and back. What comes from there makes no atom, and raises nothing.

  # No state of a law comes near: what is larger was not written by this library.
  @most_bytes 1_000_000

  @spec write(term) :: binary
  def write(term), do: :erlang.term_to_binary(term, minor_version: 2)

  @spec read(term) :: {:ok, term} | :error
  # 131, 80 is a compressed term, of any size when it is read.
  def read(<<131, tag, _::binary>> = bytes) when tag != 80 and byte_size(bytes) <= @most_bytes do
    {:ok, :erlang.binary_to_term(bytes, [:safe])}
  rescue
    ArgumentError -> :error
  end

  def read(_other), do: :error
end
