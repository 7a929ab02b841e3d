alias RateLimiter.Support.Documents

for file <- ~w(traffic svg pictures sub_windows) do
  Code.require_file("../guides/pictures/#{file}.exs", __DIR__)
end

for file <- Documents.all(), file != "README.md", do: Documents.Session.define(file)

defmodule RateLimiter.GuidesTest.Web do
  def serve, do: 200
  def refuse(status, _retry_after_ms), do: status
end

defmodule RateLimiter.GuidesTest.Router do
  alias Phoenix.LiveView.Lifecycle

  def plug(module, options), do: module.init(options)
  def socket(_path, module, _options), do: {:module, _} = Code.ensure_loaded(module)

  def live_session(_name, on_mount: [{module, options}]) do
    user = %{current_user: %{id: 7}}
    socket = %Phoenix.LiveView.Socket{assigns: user, private: %{lifecycle: %Lifecycle{}}}
    {:cont, _socket} = module.on_mount(options, %{}, %{}, socket)
  end
end

defmodule RateLimiter.GuidesTest.Endpoint do
  # With the real Phoenix, a token is signed under the secret of an endpoint.
  def config(:secret_key_base), do: String.duplicate("secret", 12)
end

defmodule RateLimiter.GuidesTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Support.Documents
  alias RateLimiter.Support.Documents.Session

  @draw "differs from what the limiter does; run mix run guides/pictures/draw.exs"

  describe "guides/limits.md" do
    test "every snippet runs in one shell", do: Session.run("guides/limits.md")

    test "its pictures show what the limiter does" do
      for {file, content} <- Guides.Pictures.all() do
        assert Documents.read("guides/images/#{file}") == content, "#{file} #{@draw}"
      end
    end

    test "its table of sub-windows shows what they cost" do
      assert Documents.read("guides/limits.md") =~ Guides.SubWindows.table(),
             "the table #{@draw}"
    end

    test "a key takes no more memory than its table says" do
      guide = Documents.read("guides/limits.md")

      for {row, window} <- [
            {"`:token_bucket`", []},
            {"`:fixed_window`", [algorithm: :fixed_window]},
            {"`:sliding_window`, 10 sub-windows", [algorithm: :sliding_window]},
            {"`:sliding_log`, up to 4 stamps", [algorithm: :sliding_log]}
          ] do
        [_row, bytes] = Regex.run(~r/^\| #{Regex.escape(row)} \| (\d+) \|$/m, guide)
        # "About": how full the table is at the moment makes some difference.
        assert bytes_a_key(window) <= 1.1 * String.to_integer(bytes), row
      end
    end
  end

  describe "guides/vsm.md" do
    test "every snippet runs in one shell, however slowly it is typed" do
      Session.run("guides/vsm.md",
        child: &start_first/1,
        pause: fn -> RateLimiter.Test.advance(400) end
      )
    end

    test "explains all that can hold a scale" do
      {:ok, types} = Code.Typespec.fetch_types(RateLimiter.Adaptive.Decision)
      [union] = for {:type, {:held_by, {:type, _, :union, union}, []}} <- types, do: union
      held = for {:atom, _, name} <- union, name != nil, do: name
      assert :dead_band in held

      [row] = Regex.run(~r/^\| `:held_by` \|.*$/m, Documents.read("guides/vsm.md"))
      named = for [name] <- Regex.scan(~r/`:(\w+)`/, row, capture: :all_but_first), do: name

      # These come from a sensor, a measure, a law that fails and the store, not from a law.
      others = [:held_by, :no_opinion, :law_failed, :store]
      assert Enum.sort(named) == Enum.sort(Enum.map(held ++ others, &Atom.to_string/1))
    end
  end

  # The guide's first instance, as this test's own; the options of the later ones are checked.
  defp start_first(vsm: true), do: RateLimiter.Test.start(vsm: true)
  defp start_first(options), do: RateLimiter.Instance.Config.new!(options)

  for {guide, options} <- [
        {"getting-started", []},
        {"migrating-from-hammer", [binding: [user: %{id: 7}]]},
        {"operations", []}
      ] do
    test "every snippet of guides/#{guide}.md runs in one shell, however slowly it is typed" do
      slow = [child: &start_checked/1, pause: fn -> RateLimiter.Test.advance(3_000) end]
      if unquote(guide) == "operations", do: RateLimiter.Test.start([])
      Session.run("guides/#{unquote(guide)}.md", slow ++ unquote(Macro.escape(options)))
    end
  end

  # A test's own instance has no files and no end; these options are checked.
  defp start_checked(options) do
    _valid = RateLimiter.Instance.Config.new!(options)
    options |> Keyword.drop([:checkpoint, :shutdown]) |> RateLimiter.Test.start()
  end

  describe "guides/replay.md" do
    test "every Elixir snippet runs" do
      Session.run("guides/replay.md",
        child: &RateLimiter.Test.start/1,
        binding: [address: {203, 0, 113, 7}],
        prelude: "import RateLimiter.GuidesTest.Web"
      )
    end
  end

  describe "guides/customers.md" do
    test "every snippet runs in one shell" do
      prelude = "import RateLimiter.GuidesTest.Router"
      Session.run("guides/customers.md", prelude: prelude)
    end
  end

  describe "guides/http.md" do
    test "every snippet runs in one shell" do
      Session.run("guides/http.md",
        child: &RateLimiter.Test.start/1,
        prelude: "import RateLimiter.GuidesTest.Router"
      )
    end

    test "its socket and channel answer denied clients" do
      RateLimiter.Test.start(
        limiters: [
          connect: [windows: [w: [limit: 1, per: :minute]]],
          messages: [windows: [w: [limit: 1, per: :minute]]]
        ]
      )

      peer = %{peer_data: %{address: {203, 0, 113, 7}}, x_headers: []}
      # The cache of keys of the real Phoenix.Token.
      _stand_in = Application.ensure_all_started(:plug_crypto)
      socket = struct!(Phoenix.Socket, endpoint: RateLimiter.GuidesTest.Endpoint)
      params = %{"token" => Phoenix.Token.sign(socket, "user", 7)}
      assert {:ok, connected} = MyAppWeb.UserSocket.connect(params, socket, peer)
      assert {:error, denied} = MyAppWeb.UserSocket.connect(params, socket, peer)
      assert {:error, :rate_limited, _usage} = denied
      socket = connected

      send_message = fn ->
        MyAppWeb.RoomChannel.handle_in("message", %{"text" => "hi"}, socket)
      end

      assert {:reply, {:ok, %{text: "hi"}}, ^socket} = send_message.()
      assert {:reply, {:error, %{retry_after_ms: 60_000}}, ^socket} = send_message.()
    end

    test "its phase charges the complexity of a query" do
      RateLimiter.Test.start(limiters: [graphql: [windows: [w: [limit: 100, per: :minute]]]])
      query = %{name: "Q", current: true, complexity: 60}

      blueprint = %Absinthe.Blueprint{
        operations: [query],
        execution: %{context: %{user_id: 7}, validation_errors: []}
      }

      complexity = Absinthe.Phase.Document.Complexity.Result
      pipeline = MyAppWeb.ChargeComplexity.pipeline([:parse, complexity, :execute], [])
      assert pipeline == [:parse, complexity, MyAppWeb.ChargeComplexity, :execute]

      assert {:ok, ^blueprint} = MyAppWeb.ChargeComplexity.run(blueprint, [])

      assert {:jump, denied, Absinthe.Phase.Document.Result} =
               MyAppWeb.ChargeComplexity.run(blueprint, [])

      assert [%Absinthe.Phase.Error{extra: %{remaining: 40}}] = denied.execution.validation_errors
    end

    test "its worker snoozes" do
      RateLimiter.Test.start(limiters: [mail: [windows: [w: [limit: 1, per: :minute]]]])
      job = %Oban.Job{args: %{"account" => "a"}}
      assert MyApp.Invoices.perform(job) == :ok
      assert MyApp.Invoices.perform(job) == {:snooze, 60}
    end
  end

  describe "guides/changing-limits.md" do
    test "every snippet runs in one shell", do: Session.run("guides/changing-limits.md")
  end

  describe "guides/testing.md" do
    test "every snippet runs in one shell", do: Session.run("guides/testing.md")
  end

  describe "guides/stores.md" do
    test "every snippet runs in one shell" do
      Session.run("guides/stores.md", child: &start_patient/1)
    end

    test "its store removes rows whose time is over" do
      {:ok, table} = MyApp.TableStore.init([])
      :ets.insert(table, [{"old", "value", 0}, {"new", "value", System.os_time(:second) * 2_000}])
      assert MyApp.TableStore.sweep(table, nil) == 1
      assert [{"new", _value, _until}] = :ets.tab2list(table)
    end
  end

  # The options of an instance whose database is not here are checked. A store has more time than in the guide, and its
  # workers have started.
  defp start_patient([{:store, {RateLimiter.Store.Postgres, _}} | _] = options),
    do: RateLimiter.Instance.Config.new!(options)

  defp start_patient(options) do
    options =
      Keyword.update!(options, :store, fn {module, own} -> {module, [timeout: 20_000] ++ own} end)

    start_supervised!({RateLimiter, options})
    eventually(fn -> RateLimiter.health_check(options[:name]) == :ok end)
  end

  describe "guides/telemetry.md" do
    test "every snippet runs in one shell", do: Session.run("guides/telemetry.md")

    test "its handlers handle the events that they are attached to" do
      RateLimiter.Test.start(limiters: [downloads: [windows: [day: [limit: 1, per: :day]]]])
      counter = :counters.new(1, [])
      MyApp.DenialCounter.attach(counter)
      on_exit(fn -> :telemetry.detach(MyApp.DenialCounter) end)
      {:error, :rate_limited, _usage} = RateLimiter.check_and_track(:downloads, 1, cost: 2)
      assert :counters.get(counter, 1) >= 1
    end
  end

  describe "guides/redis.md" do
    test "has options that an instance takes" do
      Session.run("guides/redis.md")
      stores = for %{code: code} <- Documents.snippets("guides/redis.md"), do: stores(code)
      assert length(List.flatten(stores)) == 7

      # The files do not exist and the variable is not set.
      for {:redis, options} <- List.flatten(stores) do
        plain = Keyword.drop(options, [:ssl, :username, :password])
        assert RateLimiter.Instance.Config.new!(store: {:redis, plain}).store != :local
      end
    end
  end

  defp stores(code) do
    {_ast, stores} =
      code
      |> Code.string_to_quoted!()
      |> Macro.prewalk([], fn
        {:redis, options} = node, stores when is_list(options) -> {node, [node | stores]}
        node, stores -> {node, stores}
      end)

    for store <- stores, do: store |> Code.eval_quoted() |> elem(0)
  end

  # Each in a process of its own, and so with limiters of its own.
  defp bytes_a_key(window) do
    task =
      Task.async(fn ->
        windows = [each: window ++ [limit: 10, per: :day]]
        RateLimiter.Test.start(limiters: [memory: [windows: windows, events: :none]])
        for id <- 1..50_000, do: {:ok, _} = RateLimiter.check_and_track(:memory, id)
        RateLimiter.stats()
      end)

    %{keys: 50_000, memory: bytes} = Task.await(task, :infinity)
    bytes / 50_000
  end
end

defmodule RateLimiter.TelemetryGuideTest do
  # Not async: the guide's handler is attached for the whole node, and its application is started on it.
  use ExUnit.Case

  import ExUnit.CaptureLog

  setup do
    {:ok, application} = MyApp.Application.start(:normal, [])

    on_exit(fn ->
      :telemetry.detach(MyApp.RateLimitLog)
      Process.exit(application, :kill)
    end)
  end

  # Forwarded after the guide's handler has run: handlers are called in the order in which they were attached.
  def forward(event, _measurements, _metadata, test), do: send(test, event)

  test "the application of the guide logs an outage of Redis, its end, and pain" do
    assert {:ok, %{remaining: 19}} = RateLimiter.check_and_track(:uploads, 1)
    RateLimiter.Test.start(vsm: [subsystems: [search: [limit: 9, per: :second, patience: 1_000]]])
    connection = [:rate_limiter, :redis, :connection]
    :telemetry.attach(__MODULE__, connection, &__MODULE__.forward/4, self())
    on_exit(fn -> :telemetry.detach(__MODULE__) end)

    log =
      capture_log(fn ->
        start_supervised!(
          {RateLimiter,
           name: :without_redis,
           store: {:redis, url: "redis://127.0.0.1:1"},
           limiters: [orders: [windows: [hour: [limit: 100, per: :hour]]]]}
        )

        assert {:ok, %{source: :fallback}} = RateLimiter.check_and_track(:orders, 7)
        assert_receive ^connection, 10_000

        for _ <- 1..5 do
          RateLimiter.Algedonic.pain(:search, 0.95, source: :probe)
          RateLimiter.Test.advance(:second)
        end
      end)

    assert log =~ "fallback of :orders started (share)"
    assert log =~ ~r/Redis 127.0.0.1:1 (failed|down): /
    assert log =~ ~r"\[error\] :search: .* has lasted "
    # A handler that raises is detached.
    assert Enum.any?(:telemetry.list_handlers([]), &(&1.id == MyApp.RateLimitLog))
  end
end
