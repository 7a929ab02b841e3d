defmodule RateLimiter.Doctor do
  @moduledoc false
  # Looks whether limits hold here: counted in memory, and in the Redis that is named. Each finding says how it is and,
  # where that is not well, what to change.

  alias RateLimiter.Doctor.{Local, Shared}
  alias RateLimiter.Terminal.{Screen, Text}

  @type level :: :ok | :warning | :failure
  @type finding :: {level, about :: String.t(), says :: String.t(), change :: String.t() | nil}

  @level_columns 9
  @about_columns 14
  @styles [ok: :green, warning: :yellow, failure: :red]

  @doc "Looks at all of it, tells each part as soon as it is known, and returns the worst level."
  @spec examine(:local | {:redis, keyword}, ([finding] -> :ok)) :: level
  def examine(store, tell) do
    for part <- [&Local.examine/0, fn -> Shared.examine(store) end] do
      findings = part.()
      tell.(findings)
      findings
    end
    |> Enum.concat()
    |> worst()
  end

  @doc "What could be worse than this is not among them."
  @spec worst([finding]) :: level
  def worst(findings) do
    levels = for {level, _about, _says, _change} <- findings, do: level
    Enum.find([:failure, :warning], :ok, &(&1 in levels))
  end

  @doc "Findings as lines for people."
  @spec lines([finding], Screen.t()) :: IO.chardata()
  def lines(findings, screen), do: Enum.map(findings, &line(&1, screen))

  defp line({level, about, says, change}, screen) do
    indent = "\n" <> String.duplicate(" ", 2 + @level_columns + @about_columns)
    columns = Screen.columns() - String.length(indent) + 1
    arrow = if screen.unicode, do: "→", else: "->"
    change = if change, do: ["#{arrow} #{change}"], else: []
    text = Enum.flat_map([says | change], &Text.wrap(&1, columns))

    [
      "  ",
      Screen.style(screen, @styles[level], String.pad_trailing("#{level}", @level_columns)),
      String.pad_trailing(about, @about_columns),
      Enum.intersperse(text, indent),
      "\n"
    ]
  end
end
