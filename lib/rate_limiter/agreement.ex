defmodule RateLimiter.Agreement do
  @moduledoc false
  # The agreement of several nodes on a subsystem's scale, through one Redis: its settings, keys, scripts and terms.
  #
  # Each node contributes its observation of a window. The first node that asks after the window's end takes the law's
  # step for all nodes, and the others adopt it. So there is no leader to elect or to lose.
  #
  # Nothing here waits: a command is sent, and the reply comes before the store's deadline, or at once while the
  # breaker is open.

  alias RateLimiter.Core.Native
  alias RateLimiter.Redis.Client
  alias RateLimiter.VSM.Config

  @lua Path.join(__DIR__, "agreement")
  @meet_lua Path.join(@lua, "meet.lua")
  @commit_lua Path.join(@lua, "commit.lua")
  @external_resource @meet_lua
  @external_resource @commit_lua
  # Comments are not sent.
  comment = ~r/^\s*--.*\n/m
  @meet Regex.replace(comment, File.read!(@meet_lua), "")
  @commit Regex.replace(comment, File.read!(@commit_lua), "")

  # Changes with the format in Redis and with the meaning of a state: nodes of another format form another group.
  @format 3

  # Nodes that all restart within this time continue from the last agreed step.
  @keep_windows 60
  @keep_at_least_ms 60_000

  # A law's state is much smaller. A larger term was not written by this library.
  @max_bytes 1_000_000

  @enforce_keys [:store, :prefix, :instance, :node, :label]
  defstruct @enforce_keys

  @typedoc "`node` is this instance's id, random at each start. `label` is the node's name in explanations."
  @type t :: %__MODULE__{
          store: Native.store(),
          prefix: String.t(),
          instance: term,
          node: String.t(),
          label: String.t()
        }
  @type sent :: {:sent, reference} | {:error, Native.failure() | :unknown_store}

  @spec new(Native.store(), prefix :: String.t(), instance :: term) :: t
  def new(store, prefix, instance) do
    node = Base.encode16(:crypto.strong_rand_bytes(8), case: :lower)
    %__MODULE__{store: store, prefix: prefix, instance: instance, node: node, label: label()}
  end

  @doc """
  Returns the name of the group of nodes that can agree with each other: those with the same law, options and limit.

  The state of one law means nothing to another law. So nodes that differ, as during the rollout of a new version, form
  groups that agree separately.
  """
  @spec group(Config.subsystem(), pos_integer) :: String.t()
  def group(config, interval) do
    {law, options} = Config.law_options(config)
    version = :rate_limiter |> Application.spec(:vsn) |> to_string()
    law = {@format, version, law, law.module_info(:md5), Enum.sort(options)}
    hash({law, config.rate, config.floor, config.ceiling, config.dry_run, interval})
  end

  @doc "Returns the keys of a subsystem in the order of `meet.lua`. They are in one slot of a Cluster."
  @spec keys(t, atom, String.t()) :: [String.t(), ...]
  def keys(%__MODULE__{prefix: prefix, instance: instance}, name, group) do
    tag = "#{prefix}:{!vsm:#{readable(instance)}:#{readable(name)}}"
    ["#{tag}:nodes" | for(part <- ~w(agreed open closed), do: "#{tag}:#{group}:#{part}")]
  end

  @doc "Returns for how many milliseconds Redis keeps the agreement without any node."
  @spec keep_ms(pos_integer) :: pos_integer
  def keep_ms(interval), do: max(@keep_at_least_ms, @keep_windows * interval)

  @doc "Runs `meet.lua`. The caller receives `{reference, {:ok, reply} | {:error, failure}}`."
  @spec meet(t, [String.t(), ...], [String.t()]) :: sent
  def meet(%__MODULE__{} = agreement, keys, argv), do: run(agreement, @meet, keys, argv)

  @doc "Runs `commit.lua`. The caller receives the reply as for `meet/3`."
  @spec commit(t, [String.t(), ...], [String.t()]) :: sent
  def commit(%__MODULE__{} = agreement, [_nodes, agreed, _open, closed], argv),
    do: run(agreement, @commit, [agreed, closed], argv)

  @doc "Returns a name as a part of a key. A plain name stays readable. It cannot equal a hash, which begins with `~`."
  @spec readable(term) :: String.t()
  def readable(name) when is_atom(name) do
    text = Atom.to_string(name)
    if text =~ ~r/\A[A-Za-z0-9_.@-]{1,64}\z/, do: text, else: "~" <> hash(name)
  end

  def readable(other), do: "~" <> hash(other)

  @doc "Encodes a term for Redis."
  @spec encode(term) :: binary
  def encode(term), do: :erlang.term_to_binary(term, minor_version: 2)

  @doc "Decodes a term from Redis. Creates no atoms and never raises."
  @spec decode(term) :: {:ok, term} | :error
  # 131, 80 is the tag of a compressed term, whose size is unbounded.
  def decode(<<131, tag, _::binary>> = bytes) when tag != 80 and byte_size(bytes) <= @max_bytes do
    {:ok, :erlang.binary_to_term(bytes, [:safe])}
  rescue
    ArgumentError -> :error
  end

  def decode(_other), do: :error

  @doc "Decodes a term from Redis, or returns the default."
  @spec decode(term, term) :: term
  def decode(bytes, default) do
    case decode(bytes) do
      {:ok, term} -> term
      :error -> default
    end
  end

  defp run(agreement, script, [key | _] = keys, argv) do
    reference = make_ref()
    command = ["EVAL", script, "#{length(keys)}"] ++ keys ++ argv

    case Client.command(agreement.store, reference, key, command) do
      {:sent, _wait_ms} -> {:sent, reference}
      failure -> {:error, failure}
    end
  end

  defp hash(term),
    do: :sha256 |> :crypto.hash(encode(term)) |> binary_part(0, 8) |> Base.encode16(case: :lower)

  defp label do
    if Node.alive?() do
      Atom.to_string(node())
    else
      {:ok, host} = :inet.gethostname()
      "#{host}:#{System.pid()}"
    end
  end
end
