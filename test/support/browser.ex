defmodule RateLimiter.Support.Browser do
  @moduledoc false
  # A headless Chromium with one page, which is told what to do by the DevTools protocol over a pipe. It ends with the test.

  use GenServer

  alias RateLimiter.Support.Json

  # Chromium reads commands from the descriptor 3, and writes replies to 4. A port has 0 and 1.
  @shell ~S(exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1)
  @arguments ~w(--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking
                --disable-component-update --remote-debugging-pipe about:blank)
  @reply_ms 60_000

  @doc "Returns the path of Chromium, `nil` if it is not installed."
  @spec find() :: Path.t() | nil
  def find,
    do: Enum.find_value(["chromium", "chromium-headless-shell"], &System.find_executable/1)

  @doc "Starts a browser for the calling test, with its profile in a directory."
  @spec start!(Path.t()) :: pid
  def start!(directory) do
    browser = ExUnit.Callbacks.start_supervised!({__MODULE__, directory})
    %{"targetInfos" => targets} = command(browser, "Target.getTargets")
    page = Enum.find(targets, &(&1["type"] == "page"))

    %{"sessionId" => session} =
      command(browser, "Target.attachToTarget", targetId: page["targetId"], flatten: true)

    :ok = GenServer.call(browser, {:session, session})
    for domain <- ~w(Page Runtime Log Network), do: command(browser, domain <> ".enable")
    browser
  end

  @doc "Shows an address in a window of this size, `:dark` or `:light`, and waits until it is loaded."
  @spec open(pid, String.t(), {pos_integer, pos_integer}, :dark | :light) :: :ok
  def open(browser, url, {width, height}, scheme) do
    command(browser, "Emulation.setDeviceMetricsOverride",
      width: width,
      height: height,
      deviceScaleFactor: 1,
      mobile: width < 600
    )

    command(browser, "Emulation.setEmulatedMedia",
      features: [[name: "prefers-color-scheme", value: "#{scheme}"]]
    )

    %{"loaderId" => _} = command(browser, "Page.navigate", url: url)

    true =
      evaluate(
        browser,
        "new Promise(r => document.readyState == 'complete' ? r(true) : onload = () => r(true))"
      )

    :ok
  end

  @doc "Returns the value of an expression in the page, waiting for a promise."
  @spec evaluate(pid, String.t()) :: term
  def evaluate(browser, expression) do
    reply =
      command(browser, "Runtime.evaluate",
        expression: expression,
        awaitPromise: true,
        returnByValue: true
      )

    nil = reply["exceptionDetails"]
    reply["result"]["value"]
  end

  @doc "Writes a picture of the whole page."
  @spec screenshot(pid, Path.t()) :: :ok
  def screenshot(browser, path) do
    %{"data" => data} = command(browser, "Page.captureScreenshot", captureBeyondViewport: true)
    File.write!(path, Base.decode64!(data))
  end

  @doc "Returns what the browser complained about, and the addresses that it asked for, the oldest first."
  @spec heard(pid) :: %{complaints: [map], requests: [String.t()]}
  def heard(browser) do
    events = GenServer.call(browser, :events)

    %{
      complaints: for({kind, event} <- events, kind in [:log, :exception], do: event),
      requests: for({:request, event} <- events, do: event["request"]["url"])
    }
  end

  defp command(browser, method, parameters \\ []),
    do: GenServer.call(browser, {:command, method, parameters}, @reply_ms)

  def start_link(directory), do: GenServer.start_link(__MODULE__, directory)

  @impl true
  def init(directory) do
    arguments = [find() | @arguments] ++ ["--user-data-dir=#{directory}"]
    sh = System.find_executable("sh")

    port = Port.open({:spawn_executable, sh}, [:binary, args: ["-c", @shell, "sh" | arguments]])

    {:ok, %{port: port, session: nil, rest: "", last: 0, waiting: %{}, events: []}}
  end

  @impl true
  def handle_call({:command, method, parameters}, from, state) do
    id = state.last + 1
    members = [id: id, method: method]
    members = if parameters == [], do: members, else: members ++ [params: parameters]
    members = if state.session, do: members ++ [sessionId: state.session], else: members
    Port.command(state.port, [RateLimiter.Core.Json.encode(members), 0])
    {:noreply, %{state | last: id, waiting: Map.put(state.waiting, id, from)}}
  end

  def handle_call({:session, session}, _from, state),
    do: {:reply, :ok, %{state | session: session}}

  def handle_call(:events, _from, state), do: {:reply, Enum.reverse(state.events), state}

  @impl true
  def handle_info({port, {:data, bytes}}, %{port: port} = state) do
    {messages, [rest]} = (state.rest <> bytes) |> String.split(<<0>>) |> Enum.split(-1)
    {:noreply, Enum.reduce(messages, %{state | rest: rest}, &handle(Json.decode!(&1), &2))}
  end

  defp handle(%{"id" => id} = reply, state) do
    {from, waiting} = Map.pop!(state.waiting, id)
    GenServer.reply(from, reply["result"] || raise(inspect(reply)))
    %{state | waiting: waiting}
  end

  defp handle(%{"method" => "Network.requestWillBeSent", "params" => event}, state),
    do: %{state | events: [{:request, event} | state.events]}

  defp handle(%{"method" => "Log.entryAdded", "params" => event}, state),
    do: %{state | events: [{:log, event} | state.events]}

  defp handle(%{"method" => "Runtime.exceptionThrown", "params" => event}, state),
    do: %{state | events: [{:exception, event} | state.events]}

  defp handle(_other, state), do: state
end
