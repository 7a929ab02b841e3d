defmodule RateLimiter.Test.InstanceTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.{Instance, Store, Test, VSM}
  alias RateLimiter.Instance.{Config, Writer}
  alias RateLimiter.Test.Registry
  alias RateLimiter.VSM.Table

  @start_ns 7_000_000_000

  # A process that owns an instance, until it is told to end.
  defp owner(name \\ __MODULE__) do
    owner = spawn(fn -> receive do: (:end -> :ok) end)
    on_exit(fn -> Process.exit(owner, :kill) end)
    :ok = Test.Instance.start(owner, name, @start_ns)
    {owner, Registry.instance(owner)}
  end

  defp limiter(name) do
    config = Config.new!([limiters: [{name, windows: [w: [limit: 3, per: :hour]]}]], [:limiters])
    Keyword.fetch!(config.limiters, name)
  end

  defp subsystems,
    do:
      VSM.Config.new!([subsystems: [work: [law: Fixed, limit: 1, per: :second]], sensors: []], [
        :vsm
      ])

  # Returns when the process of the instance has ended.
  defp ended(%Instance{writer: writer}, how) do
    ref = Process.monitor(writer)
    how.()
    assert_receive {:DOWN, ^ref, :process, ^writer, :normal}, 30_000
  end

  test "start/3 makes an instance of the name for its owner, with a clock that stands still" do
    {owner, instance} = owner(:replaced)
    assert %Instance{name: :replaced, ready?: true, store: :local, subsystems: nil} = instance
    assert Store.manual_clock_now(instance.clock) == @start_ns
    assert Instance.all(instance) == []
    assert Registry.instance(owner) == instance
    assert Registry.instance() == nil
  end

  test "start/3 fails if the owner has an instance" do
    {owner, instance} = owner()
    Process.flag(:trap_exit, true)
    assert_raise MatchError, fn -> Test.Instance.start(owner, :other, 0) end
    assert Registry.instance(owner) == instance
  end

  test "allow/2 lets another process use the instance, once, and no instance of another test" do
    {_owner, instance} = owner()
    {other, other_instance} = owner()
    assert Test.Instance.allow(instance, self()) == :ok
    assert Registry.instance() == instance

    assert Test.Instance.allow(instance, self()) ==
             {:error, {:already_registered, instance.writer}}

    assert Test.Instance.allow(instance, other) ==
             {:error, {:already_registered, other_instance.writer}}
  end

  test "a change of limiters is performed by its process" do
    {_owner, instance} = owner()
    Test.Instance.allow(instance, self())
    Writer.change!(instance, {:add, :of_test_instance, limiter(:of_test_instance)})
    assert [{:of_test_instance, handle, _config}] = Instance.all(instance)
    assert Registry.limiter(:of_test_instance) == handle
    assert {:ok, %{remaining: 2}} = RateLimiter.check_and_track(:of_test_instance, "a", :w)
  end

  test "add_subsystems/2 starts them once, for every process that may use the instance" do
    {owner, instance} = owner()
    Test.Instance.allow(instance, self())
    assert Test.Instance.add_subsystems(instance, subsystems()) == :ok
    assert %Instance{subsystems: table} = Registry.instance()
    assert table != nil
    assert Registry.instance(owner).subsystems == table
    assert is_pid(Instance.Registry.whereis({:controller, table, :work}))
    refute Table.real_time?(table)
    assert Table.now_ms(table) == 7_000
    assert Test.Instance.add_subsystems(Registry.instance(), subsystems()) == :taken
    assert Registry.instance().subsystems == table
  end

  test "all of it ends with the owner, for every process that was allowed" do
    {owner, instance} = owner()
    Test.Instance.allow(instance, self())
    Writer.change!(instance, {:add, :of_test_owner, limiter(:of_test_owner)})
    :ok = Test.Instance.add_subsystems(instance, subsystems())
    [{:of_test_owner, handle, _config}] = Instance.all(instance)
    loops = Table.get(Registry.instance().subsystems, :loops)
    ended(instance, fn -> send(owner, :end) end)

    assert Store.stats(handle) == nil
    refute Process.alive?(loops)
    eventually(fn -> Registry.instance() == nil and Registry.instance(owner) == nil end)

    assert_raise ArgumentError, ~r/^unknown limiter/, fn ->
      RateLimiter.check_and_track(:of_test_owner, "a")
    end
  end

  test "a limiter's name is the application's again when the last test with one has ended" do
    [{one, first}, {two, second}] = for _ <- 1..2, do: owner()

    for instance <- [first, second],
        do: Writer.change!(instance, {:add, :of_two, limiter(:of_two)})

    start_supervised!(
      {RateLimiter,
       name: {__MODULE__, :app}, limiters: [of_two: [windows: [w: [limit: 9, per: :day]]]]}
    )

    assert {:ok, %{max: 9}} = RateLimiter.check_and_track(:of_two, "a", :w)
    ended(first, fn -> send(one, :end) end)
    Test.Instance.allow(second, self())
    assert {:ok, %{max: 3}} = RateLimiter.check_and_track(:of_two, "a", :w)
    ended(second, fn -> send(two, :end) end)
    assert {:ok, %{max: 9, current: 2}} = RateLimiter.check_and_track(:of_two, "a", :w)
  end
end
