# The part of Req that this project calls. Real libraries on the code path take its place.
unless Code.ensure_loaded?(Req.Request) do
  defmodule Req.Response do
    @moduledoc false
    defstruct status: 200, headers: %{}, body: ""

    def new(options) do
      headers = Map.new(options[:headers] || [], fn {name, value} -> {name, List.wrap(value)} end)
      struct!(__MODULE__, Keyword.put(options, :headers, headers))
    end

    def get_header(response, name), do: Map.get(response.headers, name, [])

    def get_retry_after(response) do
      with [seconds | _] <- get_header(response, "retry-after"),
           do: String.to_integer(seconds) * 1_000,
           else: (_ -> nil)
    end
  end

  defmodule Req.Request do
    @moduledoc false
    defstruct url: %URI{}, options: %{}, adapter: nil, request_steps: []
    @type t :: %__MODULE__{}

    def append_request_steps(request, steps),
      do: %{request | request_steps: request.request_steps ++ steps}
  end

  defmodule Req do
    @moduledoc false
    def new(options) do
      %Req.Request{url: URI.parse(options[:url] || ""), adapter: options[:adapter]}
    end

    def request(request) do
      steps = Keyword.values(request.request_steps)
      request = Enum.reduce(steps, request, fn step, request -> step.(request) end)

      case request.adapter.(request) do
        {_request, %Req.Response{} = response} -> {:ok, response}
        {_request, error} -> {:error, error}
      end
    end
  end
end
