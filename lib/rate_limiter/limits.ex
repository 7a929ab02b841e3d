defmodule RateLimiter.Limits do
  @moduledoc """
  Changes of the limits of a running instance: of several limiters and windows in one step, with what they change, who made
  them, and a guard against a mistake.

      iex> {:ok, _usage} = RateLimiter.check_and_track(:login, "ann", :attempts)
      iex> limits = [login: [windows: [attempts: [limit: 20, per: :hour]]]]
      iex> RateLimiter.Limits.apply(limits, by: "deploy 4711")
      {:ok, [{:changed, [:login, :attempts, :limit], 5, 20}]}
      iex> [change | _earlier] = RateLimiter.Limits.history()
      iex> {change.by, change.diff}
      {"deploy 4711", [{:changed, [:login, :attempts, :limit], 5, 20}]}

  Limits have the form of the option `:limiters` of `RateLimiter.start_link/1`:

    * A limiter that the instance does not have is added.
    * Of a limiter that it has, each window that is named gets exactly the limit that is stated. What ids have used stays.
    * What is not named, a limiter or a window, stays as it is. `RateLimiter.remove_limiter/1` removes a limiter.

  A running limiter keeps its windows, their algorithms and its other options: with others, what its ids have used could not be
  kept. They change when the instance starts with them, or the limiter is removed and added again.

  A change is made as a whole or not at all, also if processes are killed meanwhile. Each call is decided by the limits before it
  or by those after it, never by some of both. A call pays nothing for any of this: it reads the same immutable plan of its
  limiter as ever, and a change replaces the plan.

  [Changing limits](guides/changing-limits.md) shows the use.
  """

  import Kernel, except: [apply: 2]

  alias RateLimiter.Core.Options
  alias RateLimiter.Instance
  alias RateLimiter.Instance.{Registry, Writer}
  alias RateLimiter.Limits.{Cluster, Document, History, Source, Watch}

  @typedoc "Limits in the form of the option `:limiters`."
  @type limits :: keyword | %{atom => keyword | map}

  @typedoc """
  What a change changes. The path has the names of the limiter, its window and the option. The windows of a limiter are maps of
  their options.
  """
  @type diff :: [
          {:changed, path :: [atom, ...], from :: term, to :: term}
          | {:added | :removed, path :: [atom, ...], windows :: %{atom => map}}
        ]

  @typedoc "A change that was made."
  @type change :: %{at: DateTime.t(), by: String.t() | nil, diff: diff}

  @typedoc "Why limits are invalid: the path of an option, what was expected, and what was given."
  @type reason :: String.t()

  @schema [
    by: [
      type: :string,
      doc: "who makes the change, or why. It is in the history and in the events."
    ],
    dry_run: [
      type: :boolean,
      default: false,
      doc: "whether to return what would change, with every check of it, and to change nothing."
    ],
    max_denied: [
      type: {:custom, &Source.share?/1, "a number above 0 and at most 1"},
      default: 0.5,
      doc:
        "the share of the ids of a limiter that the change may deny. They are those in memory that have used something, are " <>
          "admitted now, and would not be with a cost of 1. With Redis, those whose last known state is in the memory of this node."
    ],
    force: [
      type: :boolean,
      default: false,
      doc: "whether to make the change however many ids it denies."
    ],
    scope: [
      type: {:in, [:node, :cluster]},
      default: :node,
      doc:
        "`:node`, or `:cluster` for all nodes of a Redis: the change is in Redis, and each node takes it up within a second, also " <>
          "one that starts later, until `withdraw/1`. The ids are counted on the calling node. Not for an instance with `:limits`."
    ],
    instance: [
      type: :any,
      default: Instance.default_name(),
      doc: "the name of the instance."
    ]
  ]

  @unshared "scope: expected :node, since the nodes of this instance share no Redis, got: :cluster"

  @doc """
  Returns what limits would change.

  Returns `{:error, reasons}` for limits that `apply/2` would refuse as invalid.

      iex> limits = %{login: %{windows: %{attempts: %{limit: 5, per: {2, :hour}}}}}
      iex> RateLimiter.Limits.diff(limits)
      {:ok, [{:changed, [:login, :attempts, :per], :hour, {2, :hour}}]}

      iex> limits = [login: [windows: [attempts: [limit: 0, per: :hour]]]]
      iex> RateLimiter.Limits.diff(limits)
      {:error, ["login.windows.attempts.limit: expected a positive integer, got: 0"]}

  Raises `ArgumentError` if the instance is not running.
  """
  @spec diff(limits, instance :: term) :: {:ok, diff} | {:error, [reason, ...]}
  def diff(limits, instance \\ Instance.default_name()),
    do: apply(limits, dry_run: true, force: true, instance: instance)

  @doc """
  Changes limits, all of them or none, and returns what has changed.

  Returns `{:error, reasons}`, and changes nothing, if limits are invalid, or a limiter would deny more than `:max_denied` of its
  present ids.

  ## Options

  #{Options.docs(@schema)}

  ## Examples

      iex> for id <- ["ann", "bob"], do: RateLimiter.check_and_track(:login, id, :attempts, cost: 3)
      iex> limits = [login: [windows: [attempts: [limit: 3, per: :hour]]]]
      iex> RateLimiter.Limits.apply(limits)
      {:error,
       [
         "login: expected limits that deny at most 50 % of the ids that are admitted now, got: 100 % (2 of 2). " <>
           "Pass force: true to make this change"
       ]}
      iex> RateLimiter.Limits.apply(limits, force: true)
      {:ok, [{:changed, [:login, :attempts, :limit], 5, 3}]}

  Raises `ArgumentError` if an option is invalid, or the instance is not running.
  """
  @spec apply(limits, keyword) :: {:ok, diff} | {:error, [reason, ...]}
  def apply(limits, options \\ []) do
    options = Options.validate!(options, @schema, [])
    how = Map.take(options, [:by, :dry_run])
    how = Map.put(how, :max_denied, if(options.force, do: nil, else: options.max_denied))
    options.instance |> Registry.fetch!() |> change(limits, how, options.scope)
  end

  defp change(instance, limits, how, :node), do: written(instance, limits, how)

  # What this node can have, all nodes with the same limiters can.
  defp change(%Instance{store: {:redis, _store}} = instance, limits, how, :cluster) do
    with {:ok, diff} <- written(instance, limits, %{how | dry_run: true}),
         :ok <- if(how.dry_run, do: :ok, else: shared(instance, Document.terms(limits), how.by)),
         do: {:ok, diff}
  end

  defp change(_unshared, _limits, _how, :cluster), do: {:error, [@unshared]}

  defp written(instance, limits, how) do
    case Writer.change!(instance, {:apply, limits, how}) do
      {:ok, diff} -> {:ok, diff}
      {:invalid, reasons} -> {:error, reasons}
    end
  end

  defp shared(instance, limits, by) do
    with {:error, reason} <- Cluster.change(instance, limits, by), do: {:error, [reason]}
  end

  @doc """
  Ends the changes that were made with `scope: :cluster`.

  Running nodes keep the limits that they have. Nodes that start from now on have those of their options. Use it when a
  deployment brings the limits that the changes have anticipated.

  Returns `:ok`, or `{:error, reasons}` if Redis does not answer. Takes the options `:by` and `:instance` of `apply/2`, and raises
  the same errors.
  """
  @spec withdraw(keyword) :: :ok | {:error, [reason, ...]}
  def withdraw(options \\ []) do
    options = Options.validate!(options, Keyword.take(@schema, [:by, :instance]), [])

    case Registry.fetch!(options.instance) do
      %Instance{store: {:redis, _store}} = instance -> shared(instance, nil, options.by)
      _unshared -> {:error, [@unshared]}
    end
  end

  @doc """
  Reads a file of limits, in JSON, TOML, YAML or Elixir, as the option `:limits` does.

  Returns `{:ok, limits}` for `diff/2` and `apply/2`, or `{:error, reasons}` if the file cannot be read as such. Whether the
  limits are valid is not looked at yet.

      iex> path = Path.join(System.tmp_dir!(), "limits-#{System.unique_integer([:positive])}.toml")
      iex> File.write!(path, \"""
      ...> [login.windows.attempts]
      ...> limit = 8
      ...> per = "hour"
      ...> \""")
      iex> {:ok, limits} = RateLimiter.Limits.read(path)
      iex> limits
      [login: [windows: [attempts: [limit: 8, per: :hour]]]]
      iex> RateLimiter.Limits.diff(limits)
      {:ok, [{:changed, [:login, :attempts, :limit], 5, 8}]}
  """
  @spec read(Path.t()) :: {:ok, limits} | {:error, [reason, ...]}
  def read(path) when is_binary(path), do: Watch.file(path)

  @doc """
  Returns the last changes of an instance since its start, at most `count` and at most 100, the last one first.

  They are those of `apply/2`, of the source of limits, and of `RateLimiter.update_limit/3`, `RateLimiter.add_limiter/3` and
  `RateLimiter.remove_limiter/1`, whose `:by` is `nil`.

      iex> :ok = RateLimiter.update_limit(:login, :attempts, limit: 7)
      iex> for change <- RateLimiter.Limits.history(1), do: change.diff
      [[{:changed, [:login, :attempts, :limit], 5, 7}]]

  Raises `ArgumentError` if the instance is not running.
  """
  @spec history(count :: pos_integer, instance :: term) :: [change]
  def history(count \\ 20, instance \\ Instance.default_name())
      when is_integer(count) and count > 0 do
    instance |> Registry.fetch!() |> History.all() |> Enum.take(count)
  end
end
