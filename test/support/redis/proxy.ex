defmodule RateLimiter.Support.Redis.Proxy do
  @moduledoc false
  # A port that leads to a server, and delays each of its replies: a server that is far away.

  @enforce_keys [:port, :delay]
  defstruct [:port, :delay]

  @type t :: %__MODULE__{port: :inet.port_number(), delay: :atomics.atomics_ref()}

  @doc "Opens the port. It is closed with the process that opened it."
  @spec start!(:inet.port_number(), non_neg_integer) :: t
  def start!(to, delay_ms) do
    owner = self()
    delay = :atomics.new(1, [])
    :atomics.put(delay, 1, delay_ms)

    {:ok, pid} =
      Task.start_link(fn ->
        options = [:binary, active: false, nodelay: true, backlog: 1_024, ip: {127, 0, 0, 1}]
        {:ok, listener} = :gen_tcp.listen(0, options)
        {:ok, port} = :inet.port(listener)
        send(owner, {self(), port})
        accept(listener, to, delay)
      end)

    receive do
      {^pid, port} -> %__MODULE__{port: port, delay: delay}
    end
  end

  @doc "Delays replies by so many milliseconds from now on."
  @spec delay(t, non_neg_integer) :: :ok
  def delay(%__MODULE__{delay: delay}, ms), do: :atomics.put(delay, 1, ms)

  defp accept(listener, to, delay) do
    {:ok, client} = :gen_tcp.accept(listener)

    pid =
      spawn_link(fn ->
        receive do
          :yours -> connect(client, to, delay)
        end
      end)

    :ok = :gen_tcp.controlling_process(client, pid)
    send(pid, :yours)
    accept(listener, to, delay)
  end

  defp connect(client, to, delay) do
    options = [:binary, active: true, nodelay: true]

    case :gen_tcp.connect({127, 0, 0, 1}, to, options) do
      {:ok, server} ->
        :ok = :inet.setopts(client, active: true)
        copy(client, server, delay, :queue.new())

      {:error, _gone} ->
        :gen_tcp.close(client)
    end
  end

  # Each timer sends the oldest reply, so that they keep their order when the delay changes.
  defp copy(client, server, delay, late) do
    receive do
      {:tcp, ^client, bytes} ->
        :gen_tcp.send(server, bytes)
        copy(client, server, delay, late)

      {:tcp, ^server, bytes} ->
        Process.send_after(self(), :due, :atomics.get(delay, 1))
        copy(client, server, delay, :queue.in(bytes, late))

      :due ->
        {{:value, bytes}, late} = :queue.out(late)
        :gen_tcp.send(client, bytes)
        copy(client, server, delay, late)

      {:tcp_closed, _either} ->
        for socket <- [client, server], do: :gen_tcp.close(socket)
    end
  end
end
