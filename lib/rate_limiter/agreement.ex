defmodule RateLimiter.Agreement do
  @moduledoc false
  # How the nodes of one Redis agree on a subsystem's scale: each brings what it saw; the first that comes after the end
  # of a window takes the law's step for all of them, and the others take it up. There is no leader to elect or to lose.
  #
  # Nothing here waits: a command is sent, and answered by the store's deadline, or at once while its breaker is open.

  alias RateLimiter.Core.Native
  alias RateLimiter.Redis.Client
  alias RateLimiter.VSM.Config

  @lua Path.join(__DIR__, "agreement")
  @meet_lua Path.join(@lua, "meet.lua")
  @settle_lua Path.join(@lua, "settle.lua")
  @external_resource @meet_lua
  @external_resource @settle_lua
  # What is said to people does not travel.
  comment = ~r/^\s*--.*\n/m
  @meet Regex.replace(comment, File.read!(@meet_lua), "")
  @settle Regex.replace(comment, File.read!(@settle_lua), "")

  # Changes with what is written and how it is judged: nodes that differ in it do not read each other.
  @format 1

  # Nodes that all start again within this time go on from where they were.
  @keep_windows 60
  @keep_at_least_ms 60_000

  @enforce_keys [:store, :prefix, :instance, :node, :label]
  defstruct @enforce_keys

  @typedoc "`node` is this instance's own name, drawn when it starts; `label` is what people call the node."
  @type t :: %__MODULE__{
          store: Native.store(),
          prefix: String.t(),
          instance: term,
          node: String.t(),
          label: String.t()
        }
  @type asked :: {:sent, reference} | {:error, Native.failure() | :unknown_store}

  @doc "The way by which the subsystems of an instance agree with those of other nodes."
  @spec new(Native.store(), prefix :: String.t(), instance :: term) :: t
  def new(store, prefix, instance) do
    node = Base.encode16(:crypto.strong_rand_bytes(8), case: :lower)
    %__MODULE__{store: store, prefix: prefix, instance: instance, node: node, label: label()}
  end

  @doc """
  What nodes must have in common to agree with each other: how they judge, and what of.

  The state of one law, or of one with other options, says nothing to another. So nodes that differ are groups that agree
  each within itself, as while a new version is rolled out.
  """
  @spec group(Config.subsystem(), pos_integer) :: String.t()
  def group(own, interval) do
    {law, options} = Config.law_options(own)
    version = :rate_limiter |> Application.spec(:vsn) |> to_string()
    judges = {@format, version, law, law.module_info(:md5), Enum.sort(options)}
    hash({judges, own.rate, own.floor, own.ceiling, own.dry_run, interval})
  end

  @doc "The keys of a subsystem, which lie in one slot of a Cluster: as `meet.lua` wants them."
  @spec keys(t, atom, String.t()) :: [String.t(), ...]
  def keys(%__MODULE__{prefix: prefix, instance: instance}, name, group) do
    tag = "#{prefix}:{!vsm:#{word(instance)}:#{word(name)}}"
    ["#{tag}:nodes" | for(what <- ~w(agreed open closed), do: "#{tag}:#{group}:#{what}")]
  end

  @doc "How long what is agreed is kept when nobody is there, in milliseconds."
  @spec keep_ms(pos_integer) :: pos_integer
  def keep_ms(interval), do: max(@keep_at_least_ms, @keep_windows * interval)

  @doc "Runs `meet.lua`. The caller is sent `{reference, {:ok, reply} | {:error, failure}}`."
  @spec meet(t, [String.t(), ...], [String.t()]) :: asked
  def meet(%__MODULE__{} = way, keys, arguments), do: run(way, @meet, keys, arguments)

  @doc "Runs `settle.lua`, in the same way."
  @spec settle(t, [String.t(), ...], [String.t()]) :: asked
  def settle(%__MODULE__{} = way, [_nodes, agreed, _open, closed], arguments),
    do: run(way, @settle, [agreed, closed], arguments)

  defp run(way, script, [key | _] = keys, arguments) do
    reference = make_ref()
    words = ["EVAL", script, "#{length(keys)}"] ++ keys ++ arguments

    case Client.command(way.store, reference, key, words) do
      {:sent, _wait_ms} -> {:sent, reference}
      failure -> {:error, failure}
    end
  end

  # A name that people can read, if it is plain. No hash is.
  defp word(name) when is_atom(name) do
    text = Atom.to_string(name)
    if text =~ ~r/\A[A-Za-z0-9_.@-]{1,64}\z/, do: text, else: "~" <> hash(name)
  end

  defp word(other), do: "~" <> hash(other)

  defp hash(term) do
    :sha256
    |> :crypto.hash(:erlang.term_to_binary(term, minor_version: 2))
    |> binary_part(0, 8)
    |> Base.encode16(case: :lower)
  end

  defp label do
    if Node.alive?() do
      Atom.to_string(node())
    else
      {:ok, host} = :inet.gethostname()
      "#{host}:#{System.pid()}"
    end
  end
end
