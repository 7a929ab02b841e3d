defmodule RateLimiter.Replay.Settings do
  @moduledoc false
  # The options of a replay, checked before a file is opened, and the names of the fields of a line.

  alias RateLimiter.Core.{Limit, LimitText, Native, Options}

  # The fields of every format, with their names in JSON and in W3C format: of nginx, Caddy, Traefik, Envoy, loggers of
  # applications, Elastic, Google, Cloudflare, IIS and CloudFront. The first name that a line has counts.
  @fields [
    ip:
      ~w(ip client_ip clientip remote_addr remote_ip remote_host client.ip source.ip http.client_ip) ++
        ~w(request.client_ip request.remote_ip ClientHost ClientIP httpRequest.remoteIp downstream_remote_address) ++
        ~w(remote_address remoteIp clientIp req.remoteAddress c-ip),
    user:
      ~w(user user_id userid user.id user.name username remote_user ClientUsername cs-username),
    path:
      ~w(path request_path url.path uri request_uri url request.uri RequestPath httpRequest.requestUrl) ++
        ~w(ClientRequestPath ClientRequestURI cs-uri-stem),
    method:
      ~w(method request_method http.request.method http_method verb request.method RequestMethod) ++
        ~w(httpRequest.requestMethod ClientRequestMethod cs-method),
    status:
      ~w(status status_code http.response.status_code response response_code DownstreamStatus httpRequest.status) ++
        ~w(EdgeResponseStatus sc-status),
    bytes:
      ~w(bytes body_bytes_sent bytes_sent http.response.body.bytes size DownstreamContentSize) ++
        ~w(httpRequest.responseSize EdgeResponseBytes sc-bytes),
    referer:
      ~w(referer referrer http_referer http.request.referrer request_Referer httpRequest.referer) ++
        ~w(ClientRequestReferer cs\(Referer\)),
    agent:
      ~w(agent user_agent user_agent.original http_user_agent request_User-Agent httpRequest.userAgent) ++
        ~w(ClientRequestUserAgent cs\(User-Agent\))
  ]
  @field_list @fields |> Keyword.keys() |> Enum.join(", ")
  # What is reported of denied requests.
  @about ~w(path status)
  @by_name Map.new(@fields, fn {field, _names} -> {Atom.to_string(field), field} end)
  @time_names ~w(time timestamp @timestamp ts date datetime time_iso8601 time_local StartUTC EdgeStartTimestamp) ++
                ~w(start_time msec)

  @field {:custom, &is_binary/1, "a field's name"}

  @schema [
    limits: [
      type: {:custom, &__MODULE__.limits?/1, "a list of limits, at least one"},
      required: true,
      doc:
        "the limits to judge by: texts such as `\"60/min\"` or `\"10/s:burst=20:token_bucket\"`, or the options of a " <>
          "window, `[limit: 60, per: :minute]`."
    ],
    by: [
      type:
        {:custom, &__MODULE__.names?/1, "a field's name, or a list of them without a name twice"},
      default: "ip",
      doc:
        "the field that identifies a client: #{@field_list}, or any field of a JSON line, with dots into nested " <>
          "objects. Several fields together are one id."
    ],
    cost: [
      type: {:or, [@field, {:in, [nil]}]},
      default: nil,
      doc:
        "the field that holds the cost of a request, such as `\"bytes\"`. Without it a request costs 1."
    ],
    format: [
      type: {:in, [:auto, :clf, :json]},
      default: :auto,
      doc: "the format of the lines. `:auto` detects it by the first byte of each line."
    ],
    time_field: [
      type: {:or, [@field, {:in, [nil]}]},
      default: nil,
      doc:
        "the field of a JSON line that holds the time. Without it, the first of " <>
          "#{Enum.map_join(@time_names, ", ", &"`#{&1}`")}."
    ],
    time_unit: [
      type: {:in, [nil, :second, :millisecond, :microsecond, :nanosecond]},
      default: nil,
      doc:
        "the unit of a time that is a number since 1970. Without it, the magnitude decides, and a number before 1973 is " <>
          "not a time."
    ],
    fields: [
      type: {:custom, &__MODULE__.renamed?/1, "a map from #{@field_list} to names in JSON"},
      default: %{},
      doc: "other names of these fields in JSON, `%{\"ip\" => \"client.address\"}`."
    ],
    reorder_ms: [
      type: {:in, 0..31_536_000_000},
      default: 60_000,
      doc:
        "how many milliseconds behind the latest time of its log a line is put into its place at once. A file with later " <>
          "lines is read again and sorted."
    ],
    fit: [
      type: :boolean,
      default: true,
      doc: "whether to search the smallest limit. The search keeps the requests in memory."
    ],
    shares_ppm: [
      type: {:custom, &__MODULE__.shares?/1, "a list of integers from 0 to 1,000,000"},
      default: [0, 10_000],
      doc: "the shares of ids that the smallest limit may deny, in parts per million."
    ],
    top: [
      type: {:in, 0..10_000},
      default: 10,
      doc: "how many of the ids denied most often the report lists."
    ],
    progress: [
      type:
        {:or, [{:custom, &__MODULE__.callback?/1, "a function of one argument"}, {:in, [nil]}]},
      default: nil,
      doc:
        "a function that is called after each piece with a map of `:lines`, `:bytes` and `:size` (`nil` if unknown), " <>
          "and with `:fitting` when all is read."
    ]
  ]

  @enforce_keys Keyword.keys(@schema)
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          limits: [Limit.t(), ...],
          by: [String.t(), ...],
          cost: String.t() | nil,
          format: :auto | :clf | :json,
          time_field: String.t() | nil,
          time_unit: atom,
          fields: %{String.t() => String.t()},
          reorder_ms: non_neg_integer,
          fit: boolean,
          shares_ppm: [non_neg_integer],
          top: non_neg_integer,
          progress: (map | :fitting -> any) | nil
        }

  @doc "Returns the checked options, or raises an `ArgumentError` that says what was expected."
  @spec new!(keyword) :: t
  def new!(options) do
    settings = struct!(__MODULE__, Options.validate!(options, @schema, []))

    %{settings | limits: Enum.map(settings.limits, &limit!/1), by: List.wrap(settings.by)}
    |> check_format!()
  end

  defp limit!(text) when is_binary(text) do
    case LimitText.parse(text) do
      {:ok, limit} -> limit
      {:error, message} -> raise ArgumentError, message
    end
  end

  defp limit!(options), do: Limit.new!(options, [:limits])

  # Reported before the log is read, not after ten million lines without the field.
  defp check_format!(%__MODULE__{format: :clf} = settings) do
    case Enum.find(settings.by ++ List.wrap(settings.cost), &(not field?(&1))) do
      nil -> settings
      name -> Options.expected!([:by], "a field of Common Log Format (#{@field_list})", name)
    end
  end

  defp check_format!(settings), do: settings

  @doc "Returns the documentation of the options."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@schema)

  @doc "Returns whether both formats have a field of this name."
  @spec field?(String.t()) :: boolean
  def field?(name), do: is_map_key(@by_name, name)

  @doc "Returns the names of the fields that both formats have, for messages."
  @spec field_list() :: String.t()
  def field_list, do: @field_list

  @doc "Returns the fields to read of each line, as the native library takes them."
  @spec to_native(t) :: Native.schema()
  def to_native(%__MODULE__{} = settings) do
    time = if settings.time_field, do: [settings.time_field], else: @time_names
    key = Enum.map(settings.by, &field(&1, settings.fields))
    cost = settings.cost && field(settings.cost, settings.fields)
    about = Enum.map(@about, &field(&1, settings.fields))
    {settings.format, time, settings.time_unit, key, cost, about}
  end

  # The place of a field: in Common Log Format by its place, in JSON by its names.
  defp field(name, renamed) do
    case @by_name do
      %{^name => field} -> {field, if(json = renamed[name], do: [json], else: @fields[field])}
      _ -> {nil, [name]}
    end
  end

  @doc false
  def names?(name) when is_binary(name), do: name != ""

  def names?([_ | _] = names),
    do: Enum.all?(names, &(is_binary(&1) and &1 != "")) and names == Enum.uniq(names)

  def names?(_), do: false

  @doc false
  def callback?(progress), do: is_function(progress, 1)

  @doc false
  def limits?(limits), do: is_list(limits) and limits != []

  @doc false
  def renamed?(%{} = fields),
    do: Enum.all?(fields, fn {field, name} -> is_binary(name) and field?(field) end)

  def renamed?(_), do: false

  @doc false
  def shares?(shares),
    do: is_list(shares) and Enum.all?(shares, &(is_integer(&1) and &1 in 0..1_000_000))
end
