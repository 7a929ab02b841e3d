defmodule RateLimiter.Core.Secret do
  @moduledoc false
  # A value that must not appear in a log, a crash report or the output of `inspect`.
  #
  # It is passed as a function, which does not show what it returns, or as the name of an environment variable.

  alias RateLimiter.Core.Options

  @shortest_key 16

  @type t :: (... -> String.t()) | {:system, String.t()}

  @doc "Returns the type of an option that is a secret, or a string that `hide/1` makes one."
  @spec type() :: {:custom, (term -> boolean), String.t()}
  def type,
    do: {:custom, &__MODULE__.secret?/1, "a string, a zero-arity function, or {:system, name}"}

  @doc false
  def secret?({:system, name}), do: is_binary(name) and name != ""
  def secret?(secret), do: is_binary(secret) or is_function(secret, 0)

  @doc "Wraps a string so that it is not inspected. Returns other terms unchanged."
  @spec hide(term) :: term
  def hide(string) when is_binary(string), do: fn -> string end
  def hide(other), do: other

  @doc "Returns the current value of a secret, or the reason why it cannot be read."
  @spec read(t) :: {:ok, String.t()} | {:error, String.t()}
  def read({:system, name}) do
    case System.get_env(name) do
      nil -> {:error, "the environment variable #{name} is not set"}
      value -> text(value, "the environment variable #{name} is not valid UTF-8")
    end
  end

  def read(function) when is_function(function, 0) do
    text(function.(), "the function did not return a string")
  rescue
    # The message of the exception might quote the secret.
    exception -> {:error, "the function raised #{inspect(exception.__struct__)}"}
  catch
    kind, _reason -> {:error, "the function failed with #{kind}"}
  end

  @doc "Returns the current value of a secret that is a key. Raises if it cannot be read, or has less than 16 bytes."
  @spec key!(t | String.t(), Options.path()) :: String.t()
  def key!(secret, path) do
    case secret |> hide() |> read() do
      {:ok, key} when byte_size(key) >= @shortest_key -> key
      {:ok, _short} -> Options.hidden!(path, "at least #{@shortest_key} bytes")
      {:error, reason} -> Options.misuse!(path, reason)
    end
  end

  defp text(value, otherwise) do
    if is_binary(value) and String.valid?(value), do: {:ok, value}, else: {:error, otherwise}
  end
end
