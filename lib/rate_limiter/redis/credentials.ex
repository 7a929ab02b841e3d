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
  def start_link(%Instance{table: table} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: Registry.via({:credentials, table}))

  @doc "Uses these from now on."
  @spec put!(Instance.t(), credentials) :: :ok
  def put!(%Instance{table: table}, credentials) do
    with {:error, reason} <-
           GenServer.call(Registry.via({:credentials, table}), {:put, credentials}, :infinity),
         do: Options.misuse!([:password], reason)
  end

  @doc "Says that a connection was lost or refused: perhaps there is another password by now."
  @spec look(Instance.t()) :: :ok
  def look(%Instance{table: table}) do
    with pid when is_pid(pid) <- Registry.whereis({:credentials, table}), do: send(pid, :look)
    :ok
  end

  @impl true
  def init(instance), do: {:ok, instance, {:continue, :begin}}

  @impl true
  def handle_continue(:begin, instance) do
    unless used(instance), do: look_up(instance)
    {:noreply, instance}
  end

  # Hibernation collects garbage: no password stays on this heap.
  @impl true
  def handle_call({:put, credentials}, _from, instance) do
    case read(credentials) do
      {:ok, read} ->
        # Before connections are made anew.
        Certificates.look(instance)
        {:reply, use_now(instance, credentials, read), instance, :hibernate}

      {:error, reason} ->
        {:reply, {:error, reason}, instance}
    end
  end

  @impl true
  def handle_info(:look, instance) do
    drain()
    Certificates.look(instance)
    look_up(instance)
    {:noreply, instance, :hibernate}
  end

  # Many connections are lost at once: one look is enough.
  defp drain do
    receive do
      :look -> drain()
    after
      0 -> :ok
    end
  end

  defp look_up(instance) do
    credentials = :ets.lookup_element(instance.table, @row, 2)
    used = used(instance)

    case read(credentials) do
      # The same ones again would only have connections made anew.
      {:ok, ^used} -> :ok
      {:ok, read} -> use_now(instance, credentials, read)
      {:error, reason} -> missing(instance, reason)
    end
  end

  defp missing(instance, reason) do
    event = {:connection, nil, :failed, "no password: #{reason}"}
    Telemetry.redis(instance.name, event)
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
