defmodule RateLimiter.Core.Errors do
  @moduledoc false
  # Errors of invalid calls. A denied call is not an error.

  alias RateLimiter.Core.Options

  @typedoc "The running instances, each with the names of its limiters."
  @type instances :: [{name :: term, [limiter :: atom]}]

  @spec unknown_limiter(atom, instances) :: Exception.t()
  def unknown_limiter(limiter, []) do
    error(
      "unknown limiter #{Options.show(limiter)}, no RateLimiter instance is running on this node. #{add(limiter)}"
    )
  end

  def unknown_limiter(limiter, instances) do
    known =
      join(instances, fn {name, limiters} ->
        "#{Options.list(limiters)} of #{Options.show(name)}"
      end)

    hint =
      case Options.nearest(limiter, Enum.flat_map(instances, &elem(&1, 1))) do
        nil -> "."
        name -> ", did you mean #{Options.show(name)}?"
      end

    error("unknown limiter #{Options.show(limiter)}#{hint} Known limiters: #{known}")
  end

  @spec elsewhere(atom) :: Exception.t()
  def elsewhere(limiter) do
    error(
      "unknown limiter #{Options.show(limiter)} in this process: RateLimiter.Test has started one of this name for " <>
        "another process. Start it in setup, not in setup_all, or let this process use it by RateLimiter.Test.allow/2"
    )
  end

  @spec unknown_window(atom, atom, [atom]) :: Exception.t()
  def unknown_window(window, limiter, known) do
    error(
      "unknown window #{Options.show(window)} of limiter #{Options.show(limiter)}, its windows are #{Options.list(known)}"
    )
  end

  @spec unknown_plan(RateLimiter.plan_name(), atom, [RateLimiter.plan_name()]) :: Exception.t()
  def unknown_plan(plan, limiter, known) do
    error(
      "unknown plan #{Options.show(plan)} of limiter #{Options.show(limiter)}, its plans are #{Options.list(known)}. " <>
        "Add it with RateLimiter.put_plan/3"
    )
  end

  @spec unknown_plan_window(Options.path(), [atom]) :: Exception.t()
  def unknown_plan_window(path, known) do
    error(
      "#{Options.format(path)}: expected a window of the limiter, its windows are #{Options.list(known)}"
    )
  end

  @spec no_top(atom) :: Exception.t()
  def no_top(limiter) do
    error(
      "expected a limiter that counts its callers, got: #{Options.show(limiter)}. Give it the option top:, such as top: 100"
    )
  end

  @spec no_reset(atom) :: Exception.t()
  def no_reset(limiter) do
    error(
      "expected a limiter in memory or in Redis, got: #{Options.show(limiter)}, whose store is your own. Reset its ids one by " <>
        "one, by reset/2, or delete its keys"
    )
  end

  @spec unknown_instance(term, instances) :: Exception.t()
  def unknown_instance(name, []),
    do:
      error(
        "no instance #{Options.show(name)} is running on this node, nor any other. #{add(:api)}"
      )

  def unknown_instance(name, instances) do
    running = join(instances, fn {name, _limiters} -> Options.show(name) end)

    error(
      "no instance #{Options.show(name)} is running on this node, running instances: #{running}"
    )
  end

  @spec ended() :: Exception.t()
  def ended, do: error("no instance is running here: the RateLimiter instance has stopped")

  @spec not_running(term) :: Exception.t()
  def not_running(instance) do
    error(
      "no instance #{Options.show(instance)} is running on this node: it is starting, restarting or has stopped, and the " <>
        "change may not have been made. Try again when it is running"
    )
  end

  @spec taken(atom, term) :: Exception.t()
  def taken(limiter, instance) do
    error(
      "limiters.#{Options.format([limiter])}: the instance #{Options.show(instance)} has a limiter of this name, and a name is " <>
        "unique on a node. Choose another name, or remove that limiter first"
    )
  end

  @spec bad_id(term) :: Exception.t()
  def bad_id(nil) do
    error(
      "id must not be nil, because all callers without an id would share one limit. Pass the identity of the " <>
        "caller (a user id, an address, a tenant), or an explicit shared id such as :anonymous"
    )
  end

  def bad_id(id) do
    expected(
      "an id (a binary, an integer, an atom other than nil, or a tuple or list of these)",
      id
    )
  end

  @spec bad_call(term, term) :: Exception.t()
  def bad_call(limiter, cost) when is_atom(limiter),
    do: error("cost: expected an integer, got: #{Options.show(cost)}")

  def bad_call(limiter, _cost), do: expected("the name of a limiter, an atom", limiter)

  @spec no_receipt(RateLimiter.Usage.t()) :: Exception.t()
  def no_receipt(usage) do
    error(
      "expected the usage of an admitted call, got one of #{Options.show(usage.limiter)} without a receipt: a denied call, a peek " <>
        "and a refund charge nothing, and the usages under :windows belong to one call. Pass the usage in {:ok, usage} of a check"
    )
  end

  @spec bad_windows(term) :: Exception.t()
  def bad_windows([{_, _} | _] = options),
    do: expected("a window or a list of distinct windows before any options", options)

  def bad_windows(windows),
    do: expected("a window, a list of distinct windows, or options such as [cost: 1]", windows)

  @spec bad_function(term) :: Exception.t()
  def bad_function(other), do: expected("a zero-arity function", other)

  @spec bad_entry(term) :: Exception.t()
  def bad_entry(entry), do: expected("an entry {id, cost} with an integer cost", entry)

  @spec bad_list(term) :: Exception.t()
  def bad_list(other), do: expected("a list", other)

  # The first 20, and the number of the others.
  defp join(instances, text) do
    {first, others} = Enum.split(instances, 20)
    list = Enum.map_join(first, ", ", text)
    if others == [], do: list, else: "#{list} and #{length(others)} more"
  end

  defp add(limiter) do
    "Add {RateLimiter, limiters: [#{Options.format([limiter])}: [windows: [...]]]} to your application's children"
  end

  defp expected(expected, got), do: error("expected #{expected}, got: #{Options.show(got)}")

  defp error(message), do: ArgumentError.exception(message)
end
