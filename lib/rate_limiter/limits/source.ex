defmodule RateLimiter.Limits.Source do
  @moduledoc false
  # The option `:limits` of an instance: a file or a function that states its limits. `RateLimiter.Limits.Watch` reads it.

  alias RateLimiter.Core.{Limit, Options}

  @expected "{:file, path}, {:function, fun}, or one of them with options as a third element"

  @schema [
    every: [
      type: Limit.period(),
      doc:
        "how often it is looked at, a period. Default: `:second` for a file, `{10, :second}` for a function."
    ],
    max_denied: [
      type: {:custom, &__MODULE__.share?/1, "a number above 0 and at most 1"},
      default: 0.5,
      doc: "as for `RateLimiter.Limits.apply/2`. With `1`, any change is made."
    ]
  ]

  @enforce_keys [:kind, :of, :every_ms, :max_denied]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          kind: :file | :function,
          of: Path.t() | (... -> term),
          every_ms: pos_integer,
          max_denied: number
        }

  @doc "Returns the source that the option states."
  @spec new!(term, Options.path()) :: t | nil
  def new!(nil, _path), do: nil
  def new!({kind, of}, path), do: new!({kind, of, []}, path)

  def new!({:file, file, options}, path) when is_binary(file) and file != "",
    do: new(:file, file, options, :second, path)

  def new!({:function, fun, options}, path) when is_function(fun, 0),
    do: new(:function, fun, options, {10, :second}, path)

  def new!(other, path), do: Options.expected!(path, @expected, other)

  defp new(kind, of, options, every, path) do
    options = Options.validate!(options, @schema, path)
    every_ms = div(Limit.nanoseconds(options.every || every), 1_000_000)
    %__MODULE__{kind: kind, of: of, every_ms: every_ms, max_denied: options.max_denied}
  end

  @doc "Returns what is expected of the option."
  @spec expected() :: String.t()
  def expected, do: @expected

  @doc "Returns the schema of the options of a source."
  @spec schema() :: Options.schema()
  def schema, do: @schema

  @doc "Returns the name of a source, as the history and events have it."
  @spec name(t) :: String.t()
  def name(%__MODULE__{kind: :file, of: path}), do: path

  def name(%__MODULE__{kind: :function, of: fun}) do
    {:module, module} = Function.info(fun, :module)
    {:name, name} = Function.info(fun, :name)
    "#{inspect(module)}.#{name}/0"
  end

  @doc "Returns whether a value is a share of ids."
  @spec share?(term) :: boolean
  def share?(value), do: is_number(value) and value > 0 and value <= 1
end
