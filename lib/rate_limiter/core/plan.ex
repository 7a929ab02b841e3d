defmodule RateLimiter.Core.Plan do
  @moduledoc false
  # A plan: changes of the limits of some windows, validated, and as the native library takes them.

  alias RateLimiter.Core.{Errors, Limit, Native, Options}

  @type name :: RateLimiter.plan_name()

  @typedoc "The changes of each window."
  @type t :: [{window :: atom, changes :: keyword}]

  @typedoc "The plan of a call: none, a name, or changes."
  @type chosen :: nil | name | t

  @max_bytes 255

  @expected "the name of a plan, an atom other than nil or a string of at most #{@max_bytes} bytes"

  defguard is_name(name) when is_atom(name) or is_binary(name)

  @doc "Returns the type of the option that chooses a plan."
  @spec type() :: {:custom, (term -> boolean), String.t()}
  def type,
    do:
      {:custom, &__MODULE__.chosen?/1,
       "#{@expected}, or other limits by window, such as [window: [limit: 5]]"}

  @doc "Returns whether this is the plan of a call."
  @spec chosen?(term) :: boolean
  def chosen?(plan) when is_name(plan), do: name?(plan) or plan == nil
  def chosen?(plan), do: Keyword.keyword?(plan)

  @doc "Returns a name, or raises."
  @spec name!(term, Options.path()) :: name
  def name!(name, path),
    do: if(name?(name), do: name, else: Options.expected!(path, @expected, name))

  @doc "Returns the plan that these options describe, or raises. Its windows have these limits."
  @spec new!(term, [{atom, Limit.t()}], Options.path()) :: t
  def new!(options, windows, path) do
    Options.named!(options, path, fn changes, path ->
      changes = Options.named!(changes, path)
      limit = window!(windows, List.last(path), path)
      Limit.change!(limit, changes, path)
      check_period!(limit, changes, path)
      changes
    end)
  end

  @doc "Returns plans by name, or raises."
  @spec all!(term, [{atom, Limit.t()}], Options.path()) :: [{name, t}]
  def all!(plans, windows, path) do
    unless is_map(plans) or (is_list(plans) and Enum.all?(plans, &match?({_, _}, &1))),
      do: Options.expected!(path, "plans by name", plans)

    plans = Enum.to_list(plans)
    names = for {name, _plan} <- plans, do: name!(name, path)

    case names -- Enum.uniq(names) do
      [] -> for {name, plan} <- plans, do: {name, new!(plan, windows, path ++ [name])}
      [twice | _] -> Options.misuse!(path, "#{inspect(twice)} is given twice")
    end
  end

  @doc "Returns the limits of the windows under a plan. One that does not go together with them changes nothing."
  @spec apply([{atom, Limit.t()}], t) :: [{atom, Limit.t()}]
  def apply(windows, plan) do
    for {window, limit} <- windows,
        do: {window, struct!(limit, Keyword.get(plan, window, []))}
  end

  @doc "Returns the plan of a call as the native library takes it."
  @spec to_native(chosen) :: Native.plan_of_call()
  def to_native(name) when is_name(name), do: name

  def to_native(plan) do
    for {window, changes} <- plan do
      per = changes[:per] && Limit.nanoseconds(changes[:per])
      {window, changes[:limit], per, changes[:burst], changes[:enforce]}
    end
  end

  defp name?(name) when is_atom(name), do: name != nil
  defp name?(name), do: is_binary(name) and byte_size(name) <= @max_bytes

  # What counts in one period does not tell what counts in a longer one. So a change of plan could forget it.
  defp check_period!(limit, changes, path) do
    if Keyword.has_key?(changes, :per) and not Limit.bucket?(limit) do
      Options.misuse!(
        path ++ [:per],
        "a plan has a period of its own for :token_bucket only, but the algorithm is #{inspect(limit.algorithm)}"
      )
    end
  end

  defp window!(windows, window, path) do
    case List.keyfind(windows, window, 0) do
      {^window, limit} -> limit
      nil -> raise Errors.unknown_plan_window(path, Keyword.keys(windows))
    end
  end
end
