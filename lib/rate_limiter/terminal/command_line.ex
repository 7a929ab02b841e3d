defmodule RateLimiter.Terminal.CommandLine do
  @moduledoc false
  # The switches of the Mix tasks, and the messages for invalid ones.

  @doc "Returns the switches of a task without other arguments, or what is invalid."
  @spec options([String.t()], keyword, keyword) :: {:ok, keyword} | :help | {:error, String.t()}
  def options(argv, switches, aliases) do
    {given, rest, invalid} = OptionParser.parse(argv, strict: switches, aliases: aliases)

    with :ok <- check(invalid, switches, aliases) do
      cond do
        rest != [] -> {:error, "expected options only, got: #{hd(rest)}"}
        given[:help] -> :help
        true -> {:ok, given}
      end
    end
  end

  @doc "Returns the error of the first switch that `OptionParser.parse/2` reported as invalid."
  @spec check([{String.t(), String.t() | nil}], keyword, keyword) :: :ok | {:error, String.t()}
  def check([], _switches, _aliases), do: :ok

  def check([{name, nil} | _], switches, aliases) do
    case OptionParser.parse([name], switches: switches, aliases: aliases) do
      {_, _, [{^name, nil}]} -> {:error, "#{name}: expected a value"}
      _ -> {:error, "#{name}: no such option#{nearest(name, switches)}"}
    end
  end

  def check([{name, value} | _], switches, _aliases),
    do: {:error, "#{name}: expected #{expected(name, switches)}, got: #{inspect(value)}"}

  defp expected(name, switches) do
    case Enum.find(switches, fn {switch, _type} -> flag(switch) == name end) do
      {_switch, :integer} -> "a whole number"
      _boolean -> "no value"
    end
  end

  defp nearest(name, switches) do
    near =
      switches
      |> Enum.map(fn {switch, _type} -> flag(switch) end)
      |> Enum.max_by(&String.jaro_distance(&1, name))

    if String.jaro_distance(near, name) > 0.8, do: ". Did you mean #{near}?", else: ""
  end

  @doc "Prints why a task fails, and exits with this status."
  @spec fail(String.t(), String.t(), pos_integer) :: no_return
  def fail(task, message, status) do
    IO.puts(:stderr, "mix #{task}: #{message}")
    exit({:shutdown, status})
  end

  @doc "Returns a switch as the command line has it."
  @spec flag(atom) :: String.t()
  def flag(switch), do: "--" <> (switch |> Atom.to_string() |> String.replace("_", "-"))
end
