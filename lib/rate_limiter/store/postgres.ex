defmodule RateLimiter.Store.Postgres do
  @moduledoc """
  A store in PostgreSQL, through the connections that an application already has.

      {RateLimiter,
       store: {RateLimiter.Store.Postgres, query: &MyApp.Repo.query/2, nodes: 3},
       limiters: [api: [windows: [burst: [limit: 100, per: :second]]]]}

  `query:` is a function of a statement and its parameters that returns what `Ecto.Repo.query/2` and `Postgrex.query/3` do:
  `{:ok, %{rows: rows}}` or `{:error, exception}`. So there is no driver to configure, and no second password. Each worker uses one
  connection of the pool at a time.

  The table is made by a migration: `mix rate_limiter.gen.migration`. It needs PostgreSQL 9.6 or newer.

  All times are those of the server. Calls that wait at the same time are decided together: one statement reads their keys, and one writes all
  that has changed, each row only if it is still the one that was read. A call that is denied writes nothing.

  ## Options

    * `:query` - required, see above.
    * `:table` - the table, with its schema if it is not on the search path. Default: `"rate_limits"`.

  Those of every store are in `RateLimiter.Store`. `timeout:` has to be longer than the server needs for two statements.
  """

  @behaviour RateLimiter.Store

  # Rows that one step of a sweep looks at.
  @page 1_000

  @enforce_keys [:query, :read, :write, :sweep]
  defstruct @enforce_keys

  @doc "Returns the statement that makes the table. See `mix rate_limiter.gen.migration` for `logged?`."
  @spec create(table :: String.t(), logged? :: boolean) :: String.t()
  def create(table \\ "rate_limits", logged? \\ false) do
    """
    CREATE #{if logged?, do: "", else: "UNLOGGED "}TABLE #{table!(table)} (
      key bytea PRIMARY KEY,
      value bytea,
      version bigint NOT NULL,
      expires_at timestamptz NOT NULL
    ) WITH (fillfactor = 50)
    """
  end

  @doc "Returns the statement that drops the table."
  @spec drop(table :: String.t()) :: String.t()
  def drop(table \\ "rate_limits"), do: "DROP TABLE #{table!(table)}\n"

  @impl true
  def init(options) do
    with :ok <- known(options),
         {:ok, query} <- query(options),
         {:ok, table} <- table(Keyword.get(options, :table, "rate_limits")) do
      {:ok,
       %__MODULE__{query: query, read: read(table), write: write(table), sweep: sweeping(table)}}
    end
  end

  @impl true
  def update(store, key, change) do
    [result] = update_many(store, [key], fn _key, present -> change.(present) end)
    result
  end

  @impl true
  def update_many(store, keys, change) do
    names = Map.new(keys, &{hex(&1), &1})

    case read_all(store, Map.keys(names)) do
      {:ok, now_us, rows} ->
        decided = for {name, key} <- names, do: decide(name, key, rows[name], now_us, change)
        written = write_all(store, decided)
        results = finish(store, decided, written, change)
        Enum.map(keys, &Map.fetch!(results, &1))

      # Nothing was written yet.
      {:error, reason} ->
        Enum.map(keys, fn _key -> {:error, reason} end)
    end
  end

  @impl true
  def sweep(%{query: query} = store, last) do
    {:ok, %{rows: [[next]]}} = query.(store.sweep, [last || "", @page])
    next
  end

  ## One round: read, decide, write

  defp decide(name, key, row, now_us, change) do
    {value, version} = row || {nil, nil}

    case change.(key, {value, now_us}) do
      {:keep, reply} -> {key, reply, nil}
      {:put, value, ttl_ms, reply} -> {key, reply, {name, hex(value), version, ttl_ms}}
      # Without its value, and removed by the sweep: a row that is missing could not tell that it was changed.
      {:delete, reply} -> {key, reply, {name, nil, version, 0}}
    end
  end

  # The keys whose rows were changed meanwhile begin again.
  defp finish(store, decided, written, change) do
    {done, again} =
      Enum.split_with(decided, fn {_key, _reply, row} ->
        row == nil or MapSet.member?(written, elem(row, 0))
      end)

    results = Map.new(done, fn {key, reply, _row} -> {key, {:ok, reply}} end)

    case Enum.map(again, &elem(&1, 0)) do
      [] -> results
      keys -> Map.merge(results, Map.new(Enum.zip(keys, update_many(store, keys, change))))
    end
  end

  defp read_all(%{query: query, read: read}, names) do
    with {:ok, %{rows: [[now_us | _first] | _others] = rows}} <- query.(read, [names]) do
      known =
        for [_now, name, value, version] <- rows, name != nil, into: %{} do
          {name, {value && unhex(value), version}}
        end

      {:ok, now_us, known}
    end
  end

  defp write_all(store, decided) do
    case for({_key, _reply, row} <- decided, row != nil, do: row) do
      [] -> MapSet.new()
      rows -> rows |> Enum.sort() |> write_rows(store)
    end
  end

  # An error here is raised: the connection may have broken after the server has written.
  defp write_rows(rows, %{query: query, write: write}) do
    columns = for column <- 0..3, do: Enum.map(rows, &elem(&1, column))
    versions = for _row <- rows, do: :rand.uniform(0x3FFF_FFFF_FFFF_FFFF)

    case query.(write, columns ++ [versions]) do
      {:ok, %{rows: written}} -> MapSet.new(written, &hd/1)
      {:error, reason} -> raise "the rows could not be written: #{words(reason)}"
    end
  end

  ## The statements. Keys and values are hexadecimal, which every driver can send and receive.

  # The clock is read once, and before the rows: written twice, it would have two times.
  defp read(table) do
    """
    SELECT clock.us, encode(t.key, 'hex'), encode(t.value, 'hex'), t.version
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS clock
    LEFT JOIN #{table} AS t
      ON t.key = ANY (ARRAY(SELECT decode(name, 'hex') FROM unnest($1::text[]) AS name))
    """
  end

  # In the order of the keys, so that two batches cannot wait for each other. A version is a random number: a row that was
  # removed and made again has another one.
  defp write(table) do
    """
    INSERT INTO #{table} AS t (key, value, version, expires_at)
    SELECT decode(row.name, 'hex'), decode(row.value, 'hex'), row.next,
           clock_timestamp() + row.ttl * interval '1 millisecond'
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
      AS row (name, value, known, ttl, next)
    ORDER BY 1
    ON CONFLICT (key) DO UPDATE
      SET value = EXCLUDED.value, version = EXCLUDED.version, expires_at = EXCLUDED.expires_at
      WHERE t.version = ANY (
        SELECT row.known FROM unnest($1::text[], $3::bigint[]) AS row (name, known)
        WHERE decode(row.name, 'hex') = EXCLUDED.key)
    RETURNING encode(t.key, 'hex')
    """
  end

  # One page of the primary key. An index on the time would have to be written with each call.
  defp sweeping(table) do
    """
    WITH page AS (
      SELECT key FROM #{table} WHERE key > decode($1::text, 'hex') ORDER BY key LIMIT $2::bigint
    ), gone AS (
      DELETE FROM #{table} AS t USING page
      WHERE t.key = page.key AND t.expires_at < clock_timestamp()
    )
    SELECT encode((SELECT key FROM page ORDER BY key DESC LIMIT 1), 'hex')
    """
  end

  ## Options

  defp known(options) do
    case Keyword.keys(options) -- [:query, :table] do
      [] ->
        :ok

      [other | _] ->
        {:error, "unknown option #{inspect(other)}, known options are :query and :table"}
    end
  end

  defp query(options) do
    case options[:query] do
      query when is_function(query, 2) -> {:ok, query}
      _other -> {:error, "expected the option query:, a function such as &MyApp.Repo.query/2"}
    end
  end

  defp table(table) do
    if is_binary(table) and table =~ ~r/\A([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}\z/,
      do: {:ok, table},
      else:
        {:error,
         "expected the option table:, a name such as \"rate_limits\" or \"app.rate_limits\""}
  end

  defp table!(table) do
    case table(table) do
      {:ok, table} -> table
      {:error, reason} -> raise ArgumentError, reason
    end
  end

  defp hex(bytes), do: Base.encode16(bytes, case: :lower)
  defp unhex(text), do: Base.decode16!(text, case: :lower)

  defp words(%{__exception__: true} = exception), do: Exception.message(exception)
  defp words(reason), do: inspect(reason)
end
