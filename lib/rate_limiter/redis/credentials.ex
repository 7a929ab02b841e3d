defmodule RateLimiter.Redis.Credentials do
  @moduledoc false
  # The user and password of this node: read again after a connection was lost, and replaced at run time.
  #
  # They are kept in the table of the instance, so that a crash here does not restore an old password, and only as a
  # function or the name of a variable, so that nothing shows them. A password function may block: only this process
  # waits for it.

  use GenServer

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Core.{Native, Options, Secret}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.{Certificates, Client, Config}

  @row {:redis, :credentials}

  # How long a start waits for a password. A later one is read again by this process.
  @start_ms 100

  @type credentials :: %{username: String.t() | nil, password: Secret.t() | nil}

  @doc """
  Returns the initial credentials, without user and password if the password is not available soon.

  The process that reads the password is killed then, so a slow function delays neither the start nor its caller.
  """
  @spec open(:ets.tid(), Config.t()) :: Native.credentials()
  def open(table, %Config{username: username, password: password}) do
    credentials = %{username: username, password: password}

    case read_soon(credentials) do
      {:ok, read} ->
        keep(table, credentials, read)
        read

      _not_yet ->
        keep(table, credentials, nil)
        {nil, nil}
    end
  end

  defp read_soon(credentials) do
    {pid, ref} = spawn_monitor(fn -> exit({:read, read(credentials)}) end)

    receive do
      {:DOWN, ^ref, :process, _pid, {:read, result}} -> result
      {:DOWN, ^ref, :process, _pid, _killed} -> :failed
    after
      @start_ms ->
        Process.exit(pid, :kill)
        Process.demonitor(ref, [:flush])
        :late
    end
  end

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{table: table} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: Registry.via({:credentials, table}))

  @doc "Replaces the credentials."
  @spec put!(Instance.t(), credentials) :: :ok
  def put!(%Instance{table: table} = instance, credentials) do
    server = Registry.via({:credentials, table})

    with {:error, reason} <- Registry.call!(instance, server, {:put, credentials}),
         do: Options.misuse!([:password], reason)
  end

  @doc "Reads the password again, after a connection was lost or refused."
  @spec reload(Instance.t()) :: :ok
  def reload(%Instance{table: table}) do
    with pid when is_pid(pid) <- Registry.whereis({:credentials, table}), do: send(pid, :reload)
    :ok
  end

  @impl true
  def init(instance), do: {:ok, instance, {:continue, :open}}

  @impl true
  def handle_continue(:open, instance) do
    unless used(instance), do: read_again(instance)
    {:noreply, instance}
  end

  # Hibernation collects garbage, so that no password stays on this heap.
  @impl true
  def handle_call({:put, credentials}, _from, instance) do
    case read(credentials) do
      {:ok, read} ->
        # New connections need the current certificates, too.
        Certificates.reload(instance)
        {:reply, use_now(instance, credentials, read), instance, :hibernate}

      {:error, reason} ->
        {:reply, {:error, reason}, instance}
    end
  end

  @impl true
  def handle_info(:reload, instance) do
    drain()
    Certificates.reload(instance)
    read_again(instance)
    {:noreply, instance, :hibernate}
  end

  # Connections are often lost together. One read is enough.
  defp drain do
    receive do
      :reload -> drain()
    after
      0 -> :ok
    end
  end

  defp read_again(instance) do
    credentials = :ets.lookup_element(instance.table, @row, 2)
    used = used(instance)

    case read(credentials) do
      # Using the same ones again would replace all connections for nothing.
      {:ok, ^used} ->
        :ok

      {:ok, read} ->
        use_now(instance, credentials, read)

      {:error, reason} ->
        Telemetry.Redis.emit(instance.name, {:connection, nil, :failed, "no password: #{reason}"})
    end
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
