defmodule RateLimiter.Dashboard do
  @moduledoc """
  A live page in the browser: limiters, windows, subsystems and Redis of a node, and what was admitted and denied in the
  last minutes.

  The page is read-only. **It has no authentication of its own**, and shows the names of limiters and servers: mount it behind
  that of your application, as you would mount `Phoenix.LiveDashboard`.

  In a router of Phoenix:

      scope "/admin" do
        pipe_through [:browser, :require_admin]
        forward "/limits", RateLimiter.Dashboard
      end

  In a `Plug.Router`, after the plug that authenticates, `forward "/limits", to: RateLimiter.Dashboard`. It needs `:plug`
  among the dependencies of the application.

  Without either, `mix rate_limiter.dashboard` serves it, also for a remote node. An application serves it on the loopback
  interface by a child of its supervisor, to which an operator connects with `ssh -L 4010:localhost:4010`:

      children = [{RateLimiter.Dashboard, port: 4010}]

  ## The page

  A script of some lines asks for the page again every two seconds; without scripts, reload it. Everything is in one
  response. A Content-Security-Policy allows this script and this style by their hashes, and nothing from elsewhere.

  `?format=json` returns the same as JSON. `?node=shop@db1` shows another node that is connected to this one, to which
  the page has links.

  The columns of subsystems are those of `mix rate_limiter.top`.

  ## Cost

  Checks cost the same, with and without it. The node is read every two seconds while a page is open, and for ten minutes
  after that, so that a page that is opened again has the history. It has at most 150 readings of 500 limiters. A node
  without an open page is not read.
  """

  alias RateLimiter.Core.Options
  alias RateLimiter.Dashboard.{Nodes, Server}

  @schema [
    port: [
      type: {:in, 0..65_535},
      required: true,
      doc: "the port on the loopback interface. `0` takes any that is free, see `port/1`."
    ]
  ]

  @doc """
  Returns the child specification of a server that is not part of a web application. Takes the options of
  `start_link/1`.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}}

  @doc """
  Serves the page of this node alone, at `http://127.0.0.1:PORT`, linked to the calling process.

  Returns `{:ok, pid}`, or `{:error, reason}` with the reason of the operating system if it does not give the port. Every
  program of this machine can connect. Requests for another host than a name of the loopback interface are refused, so
  that no page from elsewhere can read it through its visitor's browser.

  ## Options

  #{Options.docs(@schema)}

  ## Examples

      iex> {:ok, server} = RateLimiter.Dashboard.start_link(port: 0)
      iex> RateLimiter.Dashboard.port(server) > 0
      true

  Raises `ArgumentError` for an invalid option.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    %{port: port} = Options.validate!(options, @schema, [])
    Server.start_link({port, {&Nodes.view/1, &Nodes.names/0}})
  end

  @doc "Returns the port of a server that `start_link/1` has started."
  @spec port(pid) :: :inet.port_number()
  def port(server), do: Server.port(server)

  if match?({:module, _}, Code.ensure_compiled(Plug.Conn)) do
    @behaviour Plug

    @doc "Takes no options. This function exists where Plug is a dependency of the application."
    @impl true
    @spec init([]) :: []
    def init([]), do: []

    @doc "Sends the page. Exists where Plug is a dependency of the application."
    @impl true
    @spec call(Plug.Conn.t(), []) :: Plug.Conn.t()
    def call(%Plug.Conn{} = conn, []) do
      source = {&Nodes.view/1, Nodes.names()}

      # An alias would be unused where Plug is not.
      {status, headers, body} =
        RateLimiter.Dashboard.Response.to(conn.method, conn.path_info, conn.query_string, source)

      conn
      |> Plug.Conn.merge_resp_headers(headers)
      |> Plug.Conn.send_resp(status, body)
    end
  end
end
