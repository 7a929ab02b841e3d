defmodule RateLimiter.Support.Redis.Proxy do
  @moduledoc false
  # A port that leads to a server, and delays each of its replies: a server that is far away.

  @doc "Returns the port. It is closed with the process that opened it."
  @spec start!(:inet.port_number(), pos_integer) :: :inet.port_number()
  def start!(to, delay_ms) do
    test = self()

    {:ok, pid} =
      Task.start_link(fn ->
        {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
        {:ok, port} = :inet.port(listener)
        send(test, {self(), port})
        accept(listener, to, delay_ms)
      end)

    receive do
      {^pid, port} -> port
    end
  end

  defp accept(listener, to, delay_ms) do
    {:ok, client} = :gen_tcp.accept(listener)
    pid = spawn_link(fn -> connect(client, to, delay_ms) end)
    :ok = :gen_tcp.controlling_process(client, pid)
    send(pid, :go)
    accept(listener, to, delay_ms)
  end

  defp connect(client, to, delay_ms) do
    receive do
      :go -> :ok
    end

    {:ok, server} = :gen_tcp.connect({127, 0, 0, 1}, to, [:binary, active: true])
    :ok = :inet.setopts(client, active: true)
    copy(client, server, delay_ms)
  end

  defp copy(client, server, delay_ms) do
    receive do
      {:tcp, ^client, bytes} ->
        :gen_tcp.send(server, bytes)
        copy(client, server, delay_ms)

      {:tcp, ^server, bytes} ->
        Process.send_after(self(), {:late, bytes}, delay_ms)
        copy(client, server, delay_ms)

      {:late, bytes} ->
        :gen_tcp.send(client, bytes)
        copy(client, server, delay_ms)

      {:tcp_closed, _either} ->
        for socket <- [client, server], do: :gen_tcp.close(socket)
    end
  end
end
