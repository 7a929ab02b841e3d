defmodule RateLimiter.Redis.CredentialsTest do
  # User and password: read again, replaced and hidden.
  use RateLimiter.Support.Redis.Case, async: true

  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.{Credentials, Events, Heartbeat}

  describe "credentials" do
    @user "limiter on ~rate_limiter:* &* +@all"

    setup %{server: server} do
      Redis.command!(server, ["CONFIG", "SET", "requirepass", "first secret"])
      {:ok, server: %{server | user: {"default", "first secret"}}}
    end

    test "come from a function that is called again after a lost connection", context do
      %{name: name, server: server} = context
      passwords = start_supervised!({Agent, fn -> "first secret" end})
      start(context, password: fn -> Agent.get(passwords, & &1) end)
      {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)

      Agent.update(passwords, fn _ -> "second secret" end)
      Redis.command!(server, ["CONFIG", "SET", "requirepass", "second secret"])
      server = %{server | user: {"default", "second secret"}}
      Redis.command!(server, ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])

      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.check_and_track(name, "v", :b))
      end)
    end

    @tag :slow
    test "may become available after the start", %{name: name} = context do
      passwords = start_supervised!({Agent, fn -> nil end})
      Heard.listen(name)
      store = [url: Redis.url(context.server), password: fn -> Agent.get(passwords, & &1) end]

      start_supervised!(
        {RateLimiter, name: name, store: {:redis, store}, limiters: [{name, windows: windows()}]}
      )

      assert_receive {:event, [:rate_limiter, :redis, :connection], _,
                      %{
                        server: nil,
                        change: :failed,
                        reason: "no password: the function did not return a string"
                      }},
                     30_000

      Agent.update(passwords, fn _ -> "first secret" end)
      Redis.eventually(fn -> RateLimiter.health_check(name) == :ok end)
    end

    @tag :slow
    test "delay no start, however slow their function is", %{name: name} = context do
      slow = fn -> Process.sleep(3_000) && "first secret" end
      store = [url: Redis.url(context.server), password: slow]
      options = [name: name, store: {:redis, store}, limiters: [{name, windows: windows()}]]

      {us, _pid} = :timer.tc(fn -> start_supervised!({RateLimiter, options}) end)
      assert us < 2_500_000
      assert {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, "u", :a)
      Redis.eventually(fn -> RateLimiter.health_check(name) == :ok end)

      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.check_and_track(name, "v", :b))
      end)
    end

    test "can be replaced at run time, also by those of another user", context do
      %{name: name, server: server} = context
      start(context, password: "first secret")
      Redis.command!(server, ["ACL", "SETUSER" | String.split(@user)] ++ [">third secret"])

      assert :ok =
               RateLimiter.Redis.put_credentials(
                 [username: "limiter", password: "third secret"],
                 name
               )

      Redis.eventually(fn -> "limiter" in users(server) end)
      {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)
      # A crash of the process that reads them keeps the new ones.
      pid = Registry.whereis({:credentials, table(name)})
      Process.exit(pid, :kill)
      Redis.eventually(fn -> Registry.whereis({:credentials, table(name)}) not in [nil, pid] end)
      Redis.command!(server, ["CLIENT", "KILL", "USER", "limiter"])
      Redis.eventually(fn -> "limiter" in users(server) end)
    end

    test "do not appear in states, events, stats and logs",
         %{name: name, server: server} = context do
      Heard.listen(name)

      log =
        capture_log(fn ->
          supervisor = start(context, url: "redis://:first%20secret@127.0.0.1:#{server.port}")
          {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
          seen = fn term -> inspect(term, limit: :infinity, structs: false) end

          for {_id, pid, _type, _modules} <- Supervisor.which_children(supervisor),
              is_pid(pid) do
            refute seen.(:sys.get_status(pid)) =~ "secret"
            refute seen.(:sys.get_state(pid)) =~ "secret"
          end

          refute seen.(:sys.get_status(supervisor)) =~ "secret"
          refute seen.(:ets.tab2list(table(name))) =~ "secret"
          refute seen.(RateLimiter.stats(name)) =~ "secret"
          refute seen.(RateLimiter.limiters(name)) =~ "secret"

          # A rejected password does not appear either.
          RateLimiter.Redis.put_credentials([password: "wrong secret"], name)
          Redis.command!(server, ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])

          assert_receive {:event, [:rate_limiter, :redis, :connection], _, %{change: :refused}},
                         30_000

          refute seen.(RateLimiter.health_check(name)) =~ "secret"
          for event <- mailbox(), do: refute(seen.(event) =~ "secret")

          for module <- [Credentials, Events, Heartbeat],
              do: Process.exit(child(supervisor, module), :crash)
        end)

      refute log =~ "secret"
    end

    defp table(name), do: Registry.instance(name).table

    defp users(server) do
      for line <- server |> Redis.command!(["CLIENT", "LIST"]) |> String.split("\n", trim: true),
          do: Regex.run(~r/ user=(\S+)/, line) |> List.last()
    end
  end
end
