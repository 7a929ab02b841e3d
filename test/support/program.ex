defmodule RateLimiter.Support.Program do
  @moduledoc false
  # A program of the operating system that ends with the process that started it, in any case.
  #
  # A shell between the two reads commands from its standard input, and kills the program at the end of the input. The
  # runtime closes the input when the owner ends, and the kernel when the runtime ends. SIGKILL also ends a stopped
  # program. Then the shell removes the directory.

  use GenServer

  @shell """
  directory=$1; shift
  run() { "$@" >>"$directory/output" 2>&1 & pid=$!; }
  run "$@"
  while read -r word; do
    case $word in
      start) run "$@" ;;
      kill) kill -KILL $pid; wait $pid ;;
      alive) kill -0 $pid || { echo no; continue; } ;;
      *) kill -"$word" $pid ;;
    esac
    echo yes
  done 2>/dev/null
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  rm -rf "$directory"
  """

  @answer_ms 60_000

  @type t :: pid

  @doc "Runs `program` in `directory`, which must exist and is removed at the end. Its output is in the file `output`."
  @spec start_link(Path.t(), Path.t(), [String.t()]) :: {:ok, t}
  def start_link(directory, program, arguments),
    do: GenServer.start_link(__MODULE__, {directory, program, arguments})

  @doc "Sends `SIGKILL`, and waits for the end of the program."
  @spec kill(t) :: :ok
  def kill(program), do: order!(program, "kill")

  @doc "Runs the program again, with the same arguments in the same directory."
  @spec start(t) :: :ok
  def start(program), do: order!(program, "start")

  @doc "Sends `SIGSTOP`: the program keeps its connections and does not reply."
  @spec freeze(t) :: :ok
  def freeze(program), do: order!(program, "STOP")

  @doc "Sends `SIGCONT`."
  @spec thaw(t) :: :ok
  def thaw(program), do: order!(program, "CONT")

  @doc "Returns whether the program runs, frozen or not."
  @spec alive?(t) :: boolean
  def alive?(program), do: GenServer.call(program, "alive", @answer_ms) == "yes"

  @doc "Ends the program, as the end of its owner does."
  @spec stop(t) :: :ok
  def stop(program), do: GenServer.stop(program)

  @impl true
  def init({directory, program, arguments}) do
    # Without it, a normal exit of the owner would not end this process.
    Process.flag(:trap_exit, true)

    port =
      Port.open({:spawn_executable, System.find_executable("sh")}, [
        :binary,
        line: 16,
        cd: directory,
        args: ["-c", @shell, "sh", directory, program | arguments]
      ])

    {:ok, port}
  end

  @impl true
  def handle_call(word, _from, port) do
    Port.command(port, [word, "\n"])
    receive do: ({^port, {:data, {:eol, answer}}} -> {:reply, answer, port})
  end

  defp order!(program, word) do
    "yes" = GenServer.call(program, word, @answer_ms)
    :ok
  end
end
