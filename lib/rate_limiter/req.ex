if match?({:module, _}, Code.ensure_compiled(Req.Request)) do
  defmodule RateLimiter.Req do
    alias RateLimiter.Core.Options
    alias RateLimiter.Req.Pauses

    @schema [
      limiter: [type: :atom, required: true, doc: "the name of the limiter."],
      id: [
        type: :any,
        doc: "the id, or a function of the request that returns it. By default the host."
      ],
      windows: [
        type: :any,
        default: [],
        doc: "a window, or a list of windows. The empty list is all."
      ],
      cost: [type: :integer, default: 1, doc: "the cost of a request."],
      timeout: [
        type: :milliseconds,
        default: 5_000,
        doc: "the longest wait of a request in milliseconds."
      ],
      learn: [type: :boolean, default: true, doc: "whether responses can pause requests."]
    ]

    @moduledoc """
    A step of Req: requests wait for their limit, and follow what the server says of its own.

        Req.new(base_url: "https://api.example.com")
        |> RateLimiter.Req.attach(limiter: :example, timeout: 30_000)
        |> Req.get!(url: "/users")

    A request waits in the order of `RateLimiter.await/4`, and so does each retry and each redirect. If its turn does not come
    within the timeout, the result is `RateLimiter.Req.TimeoutError`, at once if that is known before, and no request is sent.

    All requests of the same limiter and id on this node pause if a response says so: for its `Retry-After` if it is denied
    (429 or 503), or for the `t` of a `RateLimit` field with `r=0`. A server can pause them for an hour at most.

    This module exists where Req is a dependency of the application.

    ## Options

    #{Options.docs(@schema)}
    """

    @longest_pause_ms 3_600_000

    defmodule TimeoutError do
      @moduledoc "The limiter, or the server, would have let a request wait for longer than its timeout."
      defexception [:limiter, :retry_after_ms]

      @type t :: %__MODULE__{limiter: atom, retry_after_ms: non_neg_integer | :infinity}

      @impl true
      def message(%{limiter: limiter, retry_after_ms: ms}),
        do:
          "the limiter #{inspect(limiter)} does not admit the request in time, retry after #{ms} ms"
    end

    @doc "Attaches the step to a request. Raises `ArgumentError` for an invalid option."
    @spec attach(Req.Request.t(), keyword) :: Req.Request.t()
    def attach(request, options) do
      options = Options.validate!(options, @schema, [])

      # Req runs the steps of a request once, and its adapter for each attempt.
      Req.Request.append_request_steps(request, rate_limiter: &limit(&1, options))
    end

    defp limit(%{adapter: adapter} = request, options),
      do: %{request | adapter: &send_in_turn(&1, adapter, options)}

    defp send_in_turn(request, adapter, options) do
      id = id(request, options)
      pause = Pauses.left({options.limiter, id}, now())

      with true <- pause <= options.timeout,
           :ok <- Process.sleep(pause),
           {:ok, _usage} <- await(id, options, pause) do
        request |> run(adapter) |> learn(id, options)
      else
        false -> {request, timeout(options, pause)}
        {:error, :timeout, usage} -> {request, timeout(options, usage.retry_after_ms)}
      end
    end

    defp run(request, {module, function, arguments}),
      do: apply(module, function, [request | arguments])

    defp run(request, adapter), do: adapter.(request)

    defp await(id, %{timeout: timeout} = options, waited) do
      RateLimiter.await(options.limiter, id, options.windows,
        cost: options.cost,
        timeout: timeout - waited
      )
    end

    defp learn({request, %Req.Response{} = response}, id, %{learn: true} = options) do
      pause = max(retry_after(response), used_up(response))
      key = {options.limiter, id}
      if pause > 0, do: Pauses.put(key, min(pause, @longest_pause_ms), now())
      {request, response}
    end

    defp learn(result, _id, _options), do: result

    defp retry_after(%{status: status} = response) when status in [429, 503] do
      Req.Response.get_retry_after(response) || 0
    rescue
      # Req raises for a value that is neither seconds nor a date, and for two of them.
      _invalid -> 0
    end

    defp retry_after(_response), do: 0

    # The longest `t` of a member with `r=0`.
    defp used_up(response) do
      for value <- Req.Response.get_header(response, "ratelimit"),
          member <- value |> without_names() |> String.split(","),
          [_, "0"] <- [Regex.run(~r/;\s*r=(\d+)/, member)],
          [_, seconds] <- [Regex.run(~r/;\s*t=(\d{1,9})\b/, member)],
          reduce: 0,
          do: (longest -> max(longest, String.to_integer(seconds) * 1_000))
    end

    # A name may contain any separator. One that is not closed makes the rest invalid.
    defp without_names(value), do: Regex.replace(~r/"(\\.|[^"\\])*("|$)/, value, "")

    defp id(request, %{id: nil}), do: request.url.host || ""
    defp id(request, %{id: fun}) when is_function(fun), do: fun.(request)
    defp id(_request, %{id: id}), do: id

    defp timeout(options, ms), do: %TimeoutError{limiter: options.limiter, retry_after_ms: ms}

    defp now, do: System.monotonic_time(:millisecond)
  end
end
