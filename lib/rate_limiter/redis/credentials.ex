defmodule RateLimiter.Redis.Credentials do
  @moduledoc false
  # Who this node is to Redis: reads the password when a connection was lost, and takes another one at run time.
  #
  # What it keeps lies in the instance's table, so that a crash here does not bring an old password back; and only as
  # a function or a name, so that nothing shows it. A password function may take its time: nobody waits for it here.

  use GenServer

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Core.{Native, Options}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.{Certificates, Client, Config, Secret}

  @row {:redis, :credentials}

  @type credentials :: %{username: String.t() | nil, password: Secret.t() | nil}

  @doc "The credentials to begin with; none where the password is not to be had yet."
  @spec open(:ets.tid(), Config.t()) :: Native.credentials()
  def open(table, %Config{username: username, password: password}) do
    credentials = %{username: username, password: password}

    case read(credentials) do
      {:ok, read} ->
        keep(table, credentials, read)
        read

      {:error, _reason} ->
        keep(table, credentials, nil)
        {nil, nil}
    end
  end

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{table: table} = limiters),
    do: GenServer.start_link(__MODULE__, limiters, name: Registry.via({:keyring, table}))

  @doc "Uses these from now on."
  @spec put!(Instance.t(), credentials) :: :ok
  def put!(%Instance{table: table}, credentials) do
    with {:error, reason} <-
           GenServer.call(Registry.via({:keyring, table}), {:put, credentials}, :infinity),
         do: Options.misuse!([:password], reason)
  end

  @doc "Says that a connection was lost or refused: perhaps there is another password by now."
  @spec look(Instance.t()) :: :ok
  def look(%Instance{table: table}) do
    with pid when is_pid(pid) <- Registry.whereis({:keyring, table}), do: send(pid, :look)
    :ok
  end

  @impl true
  def init(limiters), do: {:ok, limiters, {:continue, :begin}}

  @impl true
  def handle_continue(:begin, limiters) do
    unless used(limiters), do: look_up(limiters)
    {:noreply, limiters}
  end

  # Hibernation collects garbage: no password stays on this heap.
  @impl true
  def handle_call({:put, credentials}, _from, limiters) do
    case read(credentials) do
      {:ok, read} ->
        # Before connections are made anew.
        Certificates.look(limiters)
        {:reply, use_now(limiters, credentials, read), limiters, :hibernate}

      {:error, reason} ->
        {:reply, {:error, reason}, limiters}
    end
  end

  @impl true
  def handle_info(:look, limiters) do
    drain()
    Certificates.look(limiters)
    look_up(limiters)
    {:noreply, limiters, :hibernate}
  end

  # Many connections are lost at once: one look is enough.
  defp drain do
    receive do
      :look -> drain()
    after
      0 -> :ok
    end
  end

  defp look_up(limiters) do
    credentials = :ets.lookup_element(limiters.table, @row, 2)
    used = used(limiters)

    case read(credentials) do
      # The same ones again would only have connections made anew.
      {:ok, ^used} -> :ok
      {:ok, read} -> use_now(limiters, credentials, read)
      {:error, reason} -> missing(limiters, reason)
    end
  end

  defp missing(limiters, reason) do
    event = {:connection, nil, :failed, "no password: #{reason}"}
    Telemetry.redis(limiters.instance, event)
  end

  defp use_now(%{table: table, store: {:redis, store}}, credentials, read) do
    keep(table, credentials, read)
    Client.put_credentials(store, read)
  end

  defp used(%{table: table}), do: :ets.lookup_element(table, @row, 3).()

  defp keep(table, credentials, used), do: :ets.insert(table, {@row, credentials, fn -> used end})

  defp read(%{username: username, password: nil}), do: {:ok, {username, nil}}

  defp read(%{username: username, password: password}) do
    with {:ok, password} <- Secret.read(password), do: {:ok, {username, password}}
  end
end
