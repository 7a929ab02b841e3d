defmodule RateLimiter.Core.Errors do
  @moduledoc false
  # What is said to who misuses a call. A denied call is no error and never comes here.

  alias RateLimiter.Core.Options

  @typedoc "The running instances, each with the names of its limiters."
  @type instances :: [{name :: term, [limiter :: atom]}]

  @spec unknown_limiter(atom, instances) :: Exception.t()
  def unknown_limiter(limiter, []) do
    error(
      "unknown limiter #{inspect(limiter)}: no instance of RateLimiter runs on this node. #{start(limiter)}"
    )
  end

  def unknown_limiter(limiter, instances),
    do:
      error("unknown limiter #{inspect(limiter)}#{near(limiter, instances)} #{known(instances)}")

  @spec unknown_window(atom, atom, [atom]) :: Exception.t()
  def unknown_window(window, limiter, known),
    do:
      error(
        "unknown window #{inspect(window)} of limiter #{inspect(limiter)}; its windows are #{Options.list(known)}"
      )

  @spec unknown_instance(term, instances) :: Exception.t()
  def unknown_instance(name, []),
    do:
      error("no instance #{inspect(name)} runs on this node, and no other either. #{start(:api)}")

  def unknown_instance(name, instances) do
    names = Enum.map_join(instances, ", ", fn {name, _limiters} -> inspect(name) end)
    error("no instance #{inspect(name)} runs on this node; there run #{names}")
  end

  @spec ended() :: Exception.t()
  def ended, do: error("the instance of these subsystems has just ended")

  @spec not_running(term) :: Exception.t()
  def not_running(instance) do
    error(
      "the instance #{inspect(instance)} is about to start, or has just ended: nothing was changed. Try again when it runs"
    )
  end

  @spec taken(atom, term) :: Exception.t()
  def taken(limiter, instance) do
    error(
      "limiters.#{Options.format([limiter])}: the instance #{inspect(instance)} has a limiter of this name, and a name is " <>
        "unique on a node. Choose another name, or remove that limiter first"
    )
  end

  @spec bad_id(term) :: Exception.t()
  def bad_id(nil) do
    error(
      "nil is no id: all callers without an id would share one limit. Pass who is asking (a user's id, " <>
        "an address, a tenant), or an id that says that they share it, such as :anonymous"
    )
  end

  def bad_id(id) do
    error(
      "expected an id (a binary, an integer, an atom other than nil, or a tuple or list of these), got: #{show(id)}"
    )
  end

  @spec bad_call(term, term) :: Exception.t()
  def bad_call(limiter, cost) when is_atom(limiter),
    do: error("cost: expected an integer, got: #{show(cost)}")

  def bad_call(limiter, _cost),
    do: error("expected a limiter's name, which is an atom, got: #{show(limiter)}")

  @spec bad_windows(term) :: Exception.t()
  def bad_windows([{_, _} | _] = options) do
    error(
      "expected a window or a list of windows, each once, and options, if the call has any, after these, " <>
        "got: #{show(options)}"
    )
  end

  def bad_windows(windows) do
    error(
      "expected a window, a list of windows, each once, or options such as [cost: 1], got: #{show(windows)}"
    )
  end

  @spec bad_function(term) :: Exception.t()
  def bad_function(other),
    do: error("expected a function of no argument as the work, got: #{show(other)}")

  @spec bad_entry(term) :: Exception.t()
  def bad_entry(entry),
    do: error("expected an entry {id, cost}, its cost an integer, got: #{show(entry)}")

  @spec bad_list(term) :: Exception.t()
  def bad_list(other), do: error("expected a list, got: #{show(other)}")

  defp near(limiter, instances) do
    case Options.nearest(limiter, Enum.flat_map(instances, &elem(&1, 1))) do
      nil -> "."
      name -> ", did you mean #{inspect(name)}?"
    end
  end

  defp known(instances) do
    "Known are " <>
      Enum.map_join(instances, ", ", fn {name, limiters} ->
        "#{Options.list(limiters)} of #{inspect(name)}"
      end)
  end

  defp start(limiter) do
    "Add {RateLimiter, limiters: [#{Options.format([limiter])}: [windows: [...]]]} to your application's children"
  end

  defp show(term), do: inspect(term, limit: 20, printable_limit: 200)

  defp error(message), do: ArgumentError.exception(message)
end
