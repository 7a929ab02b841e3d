defmodule RateLimiter.ReadmeTest.Router do
  def plug(module, options), do: module.init(options)
end

RateLimiter.Support.Documents.Session.define("README.md")

defmodule RateLimiter.ReadmeTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Documents
  alias RateLimiter.Support.Documents.Session

  @readme "README.md"

  # The limiters that the README starts, under a clock that moves only between the lines that are typed.
  defp start(options) do
    RateLimiter.Instance.Config.new!(options)
    own = Keyword.take(options, [:limiters, :vsm])
    if options[:store] == nil and options[:name] == nil, do: start_once(own)
  end

  defp start_once(options) do
    RateLimiter.Test.start(options)
  rescue
    # A later snippet shows the same limiter with other options.
    error in ArgumentError -> assert Exception.message(error) =~ "a limiter of this name"
  end

  test "every snippet runs, in order, however slowly it is typed" do
    Application.put_env(:my_app, :api_limit, 60)
    prelude = "import RateLimiter.ReadmeTest.Router"

    Session.run(@readme,
      binding: [user: %{id: 7}],
      prelude: prelude,
      child: &start/1,
      pause: fn -> RateLimiter.Test.advance(3_000) end
    )
  end

  test "names the version, the repository and the Rust of this project" do
    project = Mix.Project.config()
    readme = Documents.read(@readme)

    if url = project[:source_url], do: assert(readme =~ ~s(git: "#{url}"))
    assert readme =~ ~s(tag: "v#{project[:version]}")

    [_, rust] = Regex.run(~r/^rust-version = "(.*)"$/m, Documents.read("Cargo.toml"))
    assert readme =~ "needs Rust #{rust} or newer"
    assert readme =~ "Cargo (Rust #{rust} or newer"
    assert readme =~ "--default-toolchain #{rust}.0"
  end
end

defmodule RateLimiter.ReadmeApplicationTest do
  # Not async: the README's handler is attached for the whole node.
  use ExUnit.Case

  import ExUnit.CaptureLog

  setup do
    :ok = MyApp.Denials.attach()
    on_exit(fn -> :telemetry.detach(MyApp.Denials) end)
  end

  test "the telemetry handler logs a denial and when to retry, but not the id" do
    RateLimiter.Test.start(limiters: [mail: [windows: [day: [limit: 1, per: :day]]]])

    log =
      capture_log(fn ->
        RateLimiter.check_and_track(:mail, "ann@example.org", :day, cost: 2)
        RateLimiter.check_and_track(:mail, "ann@example.org", :day)
        RateLimiter.check_and_track(:mail, "ann@example.org", :day)
      end)

    assert log =~ ~r/mail denied [0-9a-f]{16}, the cost is more than the window holds/
    assert log =~ "retry after 86400000 ms"
    refute log =~ "ann"
  end
end
