defmodule RateLimiter.Redis.Secret do
  @moduledoc false
  # A value that may be read and must not be seen: neither in a log, nor in a crash report, nor by `inspect`.
  #
  # It travels as a function, which shows nothing of what it returns, or as the name of an environment variable.

  @type t :: (() -> String.t()) | {:system, String.t()}

  @doc "Whether this is a secret, or a string that can be made one."
  @spec secret?(term) :: boolean
  def secret?({:system, name}), do: is_binary(name) and name != ""
  def secret?(secret), do: is_binary(secret) or is_function(secret, 0)

  @doc "The string, out of sight; what is no string stays as it is."
  @spec hide(term) :: term
  def hide(string) when is_binary(string), do: fn -> string end
  def hide(other), do: other

  @doc "What a secret says now, or in words why it says nothing."
  @spec read(t) :: {:ok, String.t()} | {:error, String.t()}
  def read({:system, name}) do
    case System.get_env(name) do
      nil -> {:error, "the environment variable #{name} is not set"}
      value -> text(value, "the environment variable #{name} holds no UTF-8")
    end
  end

  def read(function) when is_function(function, 0) do
    text(function.(), "the function returned no string")
  rescue
    # Its message might quote the secret.
    exception -> {:error, "the function raised #{inspect(exception.__struct__)}"}
  catch
    kind, _reason -> {:error, "the function ended with #{kind}"}
  end

  defp text(value, otherwise) do
    if is_binary(value) and String.valid?(value), do: {:ok, value}, else: {:error, otherwise}
  end
end
