defmodule RateLimiter.Support.Documents.Commands do
  @moduledoc false
  # Checks the shell commands of documents against this project: scripts and tasks exist and know their switches.

  import ExUnit.Assertions

  alias RateLimiter.Support.Documents

  # Programs from elsewhere that a document may call.
  @others ~w(cd cargo curl git iex elixir bin/my_app)

  @doc "Raises unless every line of a snippet is a command that this project, Mix or a listed program has."
  @spec check!(Documents.snippet()) :: :ok
  def check!(%{file: file, code: code}) do
    for line <- String.split(code, "\n", trim: true),
        [command | _] = [String.replace(line, ~r/ # .*| && .*/, "")],
        words = command |> String.split() |> Enum.drop_while(&(&1 =~ ~r/^[A-Z_]+=/)),
        words != [],
        do: assert(known?(words), "#{file}: unknown command or switch: #{line}")

    :ok
  end

  defp known?(["#" | _]), do: true
  defp known?([program | _]) when program in @others, do: true
  defp known?(["mix", "run" | rest]), do: Enum.all?(scripts(rest), &exists?/1)

  defp known?(["mix", task | rest]) do
    module = Mix.Task.get(task)
    module != nil and (not own?(task) or has_switches?(Mix.Task.moduledoc(module), rest))
  end

  defp known?(["bin/" <> _ = script | rest]),
    do: exists?(script) and has_switches?(Documents.read(script), rest)

  defp known?([script | _rest]), do: exists?(script)

  defp own?(task), do: String.starts_with?(task, "rate_limiter.")
  defp scripts(words), do: Enum.filter(words, &String.ends_with?(&1, ".exs"))
  defp exists?(path), do: File.exists?(Documents.path(path))

  defp has_switches?(text, words) do
    for("-" <> _ = word <- words, do: hd(String.split(word, "=")))
    |> Enum.all?(&String.contains?(text, &1))
  end
end
