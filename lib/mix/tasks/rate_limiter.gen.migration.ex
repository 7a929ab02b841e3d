defmodule Mix.Tasks.RateLimiter.Gen.Migration do
  @shortdoc "Generates the migration for a store in PostgreSQL"

  @moduledoc """
  Generates the migration that makes the table of `RateLimiter.Store.Postgres`.

      mix rate_limiter.gen.migration
      mix rate_limiter.gen.migration --sql

  Without `--sql` it writes a migration of Ecto. The table is `UNLOGGED`: it is not in the write-ahead log, so a call costs about a
  third of what it costs in a logged table. An unlogged table is empty after a crash of the server and on its replicas, so what
  was used is forgotten then, as by a Redis without persistence. It survives an orderly restart.

  ## Options

    * `--table NAME` - the table, by default `rate_limits`, with a schema if you need one
    * `--logged` - makes a logged table, for limits of days that must survive a crash
    * `--path FOLDER` - where the migrations are, by default `priv/repo/migrations`
    * `--sql` - prints the statement instead, for other tools
    * `-h`, `--help` - prints this text

  ## Exit status

    * 0 - it was written or printed
    * 2 - the command line is invalid, or there is such a migration
  """

  use Mix.Task

  alias RateLimiter.Store.Postgres
  alias RateLimiter.Terminal.CommandLine

  @aliases [h: :help]
  @switches [table: :string, logged: :boolean, path: :string, sql: :boolean, help: :boolean]

  @impl true
  def run(argv) do
    case CommandLine.options(argv, @switches, @aliases) do
      {:ok, options} -> generate(options)
      :help -> IO.puts(@moduledoc)
      {:error, message} -> fail(message)
    end
  end

  defp generate(options) do
    table = Keyword.get(options, :table, "rate_limits")
    create = statement(fn -> Postgres.create(table, options[:logged] == true) end)

    if options[:sql],
      do: IO.puts(String.trim_trailing(create) <> ";"),
      else:
        write(create, Postgres.drop(table), Keyword.get(options, :path, "priv/repo/migrations"))
  end

  defp statement(make) do
    make.()
  rescue
    error in ArgumentError -> fail(Exception.message(error))
  end

  defp write(create, drop, folder) do
    case Path.wildcard(Path.join(folder, "*_create_rate_limits.exs")) do
      [known | _] -> fail("#{known} exists")
      [] -> :ok
    end

    path = Path.join(folder, "#{timestamp()}_create_rate_limits.exs")
    File.mkdir_p!(folder)
    File.write!(path, migration(create, drop))
    IO.puts("* creating #{path}")
  end

  # The statements stand in the migration, so that it stays what it was when this library changes.
  defp migration(create, drop) do
    """
    defmodule #{inspect(Module.concat([application(), "Repo.Migrations.CreateRateLimits"]))} do
      use Ecto.Migration

      def up do
        execute \"\"\"
    #{indented(create)}
        \"\"\"
      end

      def down do
        execute "#{String.trim(drop)}"
      end
    end
    """
  end

  defp indented(text) do
    text |> String.trim_trailing() |> String.split("\n") |> Enum.map_join("\n", &("    " <> &1))
  end

  defp application,
    do: Mix.Project.config() |> Keyword.get(:app, :my_app) |> to_string() |> Macro.camelize()

  defp timestamp, do: Calendar.strftime(DateTime.utc_now(), "%Y%m%d%H%M%S")

  @spec fail(String.t()) :: no_return
  defp fail(message), do: CommandLine.fail("rate_limiter.gen.migration", message, 2)
end
