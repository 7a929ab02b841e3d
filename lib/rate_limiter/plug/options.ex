defmodule RateLimiter.Plug.Options do
  @moduledoc false
  # The options of `RateLimiter.Plug`, checked when the plug is initialized.

  alias RateLimiter.Core.{Options, Plan}
  alias RateLimiter.HTTP
  alias RateLimiter.HTTP.Address

  @conn_fun "a function of the connection"

  @schema [
    limiter: [type: :atom, required: true, doc: "the name of the limiter."],
    windows: [
      type: {:custom, &__MODULE__.windows?/1, "a window, a list of windows, or #{@conn_fun}"},
      default: [],
      doc: "a window, a list of windows, or a function of the connection. The empty list is all."
    ],
    id: [
      type: {:custom, &__MODULE__.optional?/1, @conn_fun},
      doc:
        "a function of the connection that returns the id. Without it, and if it returns `nil`, the id is the " <>
          "client's address."
    ],
    cost: [
      type: {:custom, &__MODULE__.cost?/1, "an integer or #{@conn_fun}"},
      default: 1,
      doc: "an integer, or a function of the connection."
    ],
    plan: [
      type: {:custom, &__MODULE__.plan?/1, "a plan as for check_and_track, or #{@conn_fun}"},
      doc:
        "the plan of the request as `:plan` of `RateLimiter.check_and_track/4`, or a function of the connection that " <>
          "returns it."
    ],
    skip: [
      type: {:custom, &__MODULE__.optional?/1, @conn_fun},
      doc:
        "a function of the connection. A request for which it returns a true value is not checked."
    ],
    charge: [
      type: {:custom, &__MODULE__.charge?/1, ":request or {:response, #{@conn_fun}}"},
      default: :request,
      doc:
        "`:request`, or `{:response, fun}` to give back what the response shows not to count, see " <>
          "[below](#module-charge-by-response)."
    ],
    shadow: [
      type: :boolean,
      default: false,
      doc:
        "`true` to admit each request, without header fields, while events and counts tell which ones are denied."
    ],
    on_deny: [
      type: {:custom, &__MODULE__.handler?/1, "a function of the connection and the answer"},
      doc:
        "a function of the connection and the denied answer that returns the connection. The request continues " <>
          "unless it halts the connection. By default `refuse/2`."
    ],
    on_unavailable: [
      type: {:custom, &__MODULE__.unavailable?/1, ":allow or a function as on_deny:"},
      doc:
        "the same for an `:unavailable` answer, or `:allow` to admit the request. By default as `:on_deny`."
    ]
  ]

  @fields [:format, :jitter]
  @address [:trust, :hops, :header, :v6]

  @spec docs() :: String.t()
  def docs, do: Options.docs(@schema)

  @doc "Returns the options as a map, with those of the header fields and of the address in `:fields` and `:address`."
  @spec new!(term, on_deny :: function) :: map
  def new!(options, on_deny) do
    options = Options.named!(options, [])
    {fields, options} = Keyword.split(options, @fields)
    {address, options} = Keyword.split(options, @address)
    HTTP.options!(fields)

    options
    |> Options.validate!(@schema, [])
    |> Map.merge(%{fields: fields, address: Address.options!(address)})
    |> Map.update!(:on_deny, &(&1 || on_deny))
    |> then(&%{&1 | on_unavailable: &1.on_unavailable || &1.on_deny})
  end

  @doc false
  def windows?(windows), do: is_atom(windows) or is_list(windows) or is_function(windows, 1)

  @doc false
  def cost?(cost), do: is_integer(cost) or is_function(cost, 1)

  @doc false
  def plan?(plan), do: is_function(plan, 1) or Plan.chosen?(plan)

  @doc false
  def optional?(fun), do: fun == nil or is_function(fun, 1)

  @doc false
  def charge?(:request), do: true
  def charge?({:response, fun}), do: is_function(fun, 1)
  def charge?(_other), do: false

  @doc false
  def handler?(fun), do: fun == nil or is_function(fun, 2)

  @doc false
  def unavailable?(handler), do: handler == :allow or handler?(handler)
end
