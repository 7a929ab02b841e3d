defmodule RateLimiter.Core.Native do
  @moduledoc false
  # The functions of the native library: one stub each, under the module that calls it.
  #
  # Rustler's library is loaded once, because the runtime refuses to load it over itself. Nothing in this file depends
  # on anything else in the project, so `recompile` never has to compile it again.

  @on_load :load

  # A refusal comes in place of any answer below.
  @type refusal ::
          :unknown_limiter
          | :unknown_window
          | :unknown_plan
          | :bad_id
          | :large_id
          | :unknown_store
          | :test_owned
          | :stopping

  ## RateLimiter.Store: limiters

  @type limiter :: atom | handle
  @type handle :: non_neg_integer
  @type owner :: reference
  @type window :: atom
  @type windows :: window | [window]
  @type events :: :all | :denials | :none
  @type window_spec ::
          {window, algorithm :: atom, limit :: pos_integer, per_ns :: pos_integer,
           burst :: pos_integer | nil, sub_windows :: pos_integer | nil,
           {aligned? :: boolean, enforced? :: boolean}}
  @type rejection :: {:error, {window | nil, reason :: String.t()}}
  @type threshold_ppm :: 1..1_000_000 | nil
  @type options :: {events, max_keys :: pos_integer, threshold_ppm, clock :: :monotonic | clock}
  @type shared_options ::
          {events, max_keys :: pos_integer, threshold_ppm, on_outage :: :share | :allow | :deny}
  @type plan :: {scale_ppm :: pos_integer, [{window, max :: non_neg_integer}, ...]}

  @doc "Returns burst and sub-windows of the limit as a store keeps it, or why it cannot."
  @spec limit_check(window_spec, :local | :redis) ::
          {:ok, {burst :: pos_integer | nil, sub_windows :: pos_integer | nil}}
          | {:error, reason :: String.t()}
  def limit_check(_window, _store), do: not_loaded()

  @doc "Makes a limiter, which lives as long as its owner."
  @spec new_limiter([window_spec], options) :: {:ok, handle, owner} | rejection
  def new_limiter(_windows, _options), do: not_loaded()

  @spec new_shared_limiter([window_spec], shared_options, {store, name :: atom}) ::
          {:ok, handle, owner} | rejection | refusal
  def new_shared_limiter(_windows, _options, _where), do: not_loaded()

  @spec drop(owner) :: :ok
  def drop(_owner), do: not_loaded()

  @spec bind(atom, owner) :: :ok | {:error, :taken}
  def bind(_name, _owner), do: not_loaded()

  @spec unbind(atom, handle) :: :ok
  def unbind(_name, _handle), do: not_loaded()

  @spec set_test_owned(atom, boolean) :: :ok
  def set_test_owned(_name, _owned?), do: not_loaded()

  @doc "Lets calls by the name of this limiter return `:stopping`, until the name is free."
  @spec stop_admitting(atom, handle) :: :ok
  def stop_admitting(_name, _handle), do: not_loaded()

  @spec handle(atom) :: handle | nil
  def handle(_name), do: not_loaded()

  @spec plan(limiter) :: plan | refusal
  def plan(_limiter), do: not_loaded()

  @doc "Changes the limits of some windows, all of them or none."
  @spec update_limits(limiter, [window_spec]) :: :ok | refusal | {:error, reason :: String.t()}
  def update_limits(_limiter, _windows), do: not_loaded()

  @doc "Returns how many ids have used something, and how many of them these limits would deny that are admitted now."
  @spec preview(limiter, [window_spec]) ::
          {ids :: non_neg_integer, denied :: non_neg_integer}
          | refusal
          | {:error, reason :: String.t()}
  def preview(_limiter, _windows), do: not_loaded()

  @doc "Forgets what all ids of a local limiter have used."
  @spec forget(limiter) :: :ok | refusal
  def forget(_limiter), do: not_loaded()

  @doc "Sets when all ids of a shared limiter were reset, unless a later reset is known. Returns when that was before."
  @spec set_generation(limiter, redis_us :: non_neg_integer) :: non_neg_integer | refusal
  def set_generation(_limiter, _generation), do: not_loaded()

  @typedoc "Another limit of a window. What is `nil` stays."
  @type change ::
          {window, limit :: pos_integer | nil, per_ns :: pos_integer | nil,
           burst :: pos_integer | nil, enforced? :: boolean | nil}
  @type plan_name :: atom | String.t()

  @doc "Adds plans, or replaces those of the same names. None of them, if one cannot be kept."
  @spec put_plans(limiter, [{plan_name, [change]}]) ::
          :ok | refusal | {:error, reason :: String.t()}
  def put_plans(_limiter, _plans), do: not_loaded()

  @spec remove_plan(limiter, plan_name) :: boolean | refusal
  def remove_plan(_limiter, _name), do: not_loaded()

  @spec set_scale(limiter, pos_integer) :: :ok | refusal
  def set_scale(_limiter, _ppm), do: not_loaded()

  @typedoc """
  Calls by window, of several windows under the one that decided, those that passed its threshold, and the admitted ones that
  it would have denied if it was enforced.
  """
  @type window_stats ::
          {window,
           [
             {source :: :local | :redis | :store | :fallback, allowed :: non_neg_integer,
              denied :: non_neg_integer, unavailable :: non_neg_integer}
           ], passed :: non_neg_integer, would_deny :: non_neg_integer}

  @spec stats(limiter) ::
          %{required(:windows) => [window_stats], optional(atom) => term} | refusal
  def stats(_limiter), do: not_loaded()

  @typedoc "An id that is kept, in the external term format, or the key of one that is not."
  @type label :: {:id, binary} | {:key, binary}

  @doc "Begins to count which ids call most, at most `capacity` in each window."
  @spec count_top(limiter, capacity :: pos_integer, keep_ids? :: boolean, :monotonic | clock) ::
          :ok | refusal
  def count_top(_limiter, _capacity, _keep_ids?, _clock), do: not_loaded()

  @doc "Returns the ids with the most calls, or denied calls, of the last one to two minutes."
  @spec top(limiter, window, :calls | :denied, count :: non_neg_integer) ::
          [{label, calls :: non_neg_integer, denied :: non_neg_integer}] | :off | refusal
  def top(_limiter, _window, _by, _count), do: not_loaded()

  @spec full(limiter) :: boolean | refusal
  def full(_limiter), do: not_loaded()

  @doc "Gives memory that limiters have freed back to the operating system."
  @spec release_memory() :: :ok
  def release_memory, do: not_loaded()

  @spec sweep(limiter, pos_integer) :: non_neg_integer | refusal
  def sweep(_limiter, _max_slots), do: not_loaded()

  ## RateLimiter.Store, RateLimiter.VSM.Gate: calls. A shared limiter may answer `t:sent/0`: then `await/2` has the answer

  @type id :: RateLimiter.id() | large_id
  @type large_id :: reference
  @type cost :: integer
  @type op :: :take | :peek | :refund | :reset
  @type request ::
          {op, cost, {request_id :: binary, keep_ns :: pos_integer} | receipt | nil, plan_of_call}

  @typedoc "The plan of a call: `nil` for the limiter's own limits. `:unknown_plan` also refuses changes that cannot be kept."
  @type plan_of_call :: nil | plan_name | [change]

  @typedoc "Of the call to give back. `at` and `serial` are those of its answer."
  @type receipt ::
          {at :: non_neg_integer, serial :: non_neg_integer, charged :: cost,
           request_id :: binary | nil}
  @type verdict :: :ok | :would_deny | :rate_limited | :unavailable
  @type retry_ms :: non_neg_integer | :infinity
  @type row ::
          {window, max :: non_neg_integer, remaining :: non_neg_integer,
           next_ms :: non_neg_integer, reset_ms :: non_neg_integer, retry_ms}

  @typedoc "The events that an answer emits. With windows, the id has passed the threshold of each."
  @type emits :: events | {:passed, events, [window, ...]}

  @typedoc "The answer of one window of a local limiter, with its receipt: `serial` is 0 if nothing was charged."
  @type usage ::
          {:ok | :would_deny | :rate_limited, emits, max :: non_neg_integer,
           remaining :: non_neg_integer, next_ms :: non_neg_integer, reset_ms :: non_neg_integer,
           retry_ms, scale_ppm :: pos_integer, at :: non_neg_integer, serial :: non_neg_integer}

  @typedoc "Without rows, the windows are unknown. For a reset that was done, `:ok`."
  @type answer ::
          :ok
          | usage
          | {verdict, emits, source :: :local | :redis | :store | :fallback,
             scale_ppm :: pos_integer, binding :: window, [row, ...], at :: non_neg_integer,
             serial :: non_neg_integer}
          | {verdict, events, source :: :local | :fallback, scale_ppm :: pos_integer}
          | {:fallback, :started | :stopped, outage, answer}
  @typedoc "The instance's name is in the external term format."
  @type outage :: {instance :: binary, on_outage :: atom, nodes :: pos_integer}
  @type ticket :: reference
  @type sent :: {:sent, ticket, wait_ms :: pos_integer}

  @spec check(limiter, id, window, cost) :: usage | answer | sent | refusal
  def check(_limiter, _id, _window, _cost), do: not_loaded()

  @doc "As `check/4`, but `true` for an admitted call that emits no event."
  @spec allow(limiter, id, window, cost) :: true | usage | answer | sent | refusal
  def allow(_limiter, _id, _window, _cost), do: not_loaded()

  @doc "As `check/4`, under a plan."
  @spec check_under(limiter, id, window, cost, plan_of_call) :: usage | answer | sent | refusal
  def check_under(_limiter, _id, _window, _cost, _plan), do: not_loaded()

  @spec request(limiter, id, windows, request) :: answer | sent | refusal
  def request(_limiter, _id, _windows, _request), do: not_loaded()

  @doc "Returns the answer of this node without the authority."
  @spec request_alone(limiter, id, windows, request) :: answer | refusal
  def request_alone(_limiter, _id, _windows, _request), do: not_loaded()

  @doc "Decides the first entries, and returns the rest. `:large_id` is about the first one."
  @spec request_batch(limiter, [{id, cost}], windows, op, plan_of_call) ::
          {[answer] | sent, rest :: [{id, cost}]} | refusal
  def request_batch(_limiter, _entries, _windows, _op, _plan), do: not_loaded()

  @doc "Returns the answer if it is known; else the caller will receive `{reference, answer}`."
  @spec await(ticket, reference) :: answer | [answer] | :waiting
  def await(_ticket, _reference), do: not_loaded()

  @doc "Stops waiting. `:answered` means that the message was sent or is about to be."
  @spec cancel(ticket) :: :cancelled | :answered
  def cancel(_ticket), do: not_loaded()

  @doc "Hashes an id that is too large for a normal scheduler. The result takes its place in calls about this limiter."
  @spec hash_id(limiter, RateLimiter.id()) :: large_id | :bad_id
  def hash_id(_limiter, _id), do: not_loaded()

  ## RateLimiter.Store: a clock for tests and replays

  @type clock :: reference

  @spec utc_ahead_ms() :: non_neg_integer
  def utc_ahead_ms, do: not_loaded()

  @spec manual_clock(non_neg_integer) :: clock
  def manual_clock(_start_ns), do: not_loaded()

  @spec manual_clock_advance(clock, non_neg_integer) :: non_neg_integer
  def manual_clock_advance(_clock, _ns), do: not_loaded()

  @spec manual_clock_set(clock, non_neg_integer) :: non_neg_integer
  def manual_clock_set(_clock, _ns), do: not_loaded()

  @spec manual_clock_now(clock) :: non_neg_integer
  def manual_clock_now(_clock), do: not_loaded()

  ## RateLimiter.Limits.Document

  @typedoc "An object is a list of pairs, in its order."
  @type document ::
          nil | boolean | number | String.t() | [document] | [{String.t(), document}]

  @doc "Reads a text in JSON or TOML. The reason of an error has the line."
  @spec document(text :: binary, :json | :toml) ::
          {:ok, document} | {:error, reason :: String.t()}
  def document(_text, _format), do: not_loaded()

  ## RateLimiter.Telemetry

  @doc "Returns the key of an id, which must not be shown."
  @spec id_key(id) :: binary | :bad_id | :large_id
  def id_key(_id), do: not_loaded()

  ## RateLimiter.Instance.Checkpoint

  @doc "Writes what limiters have counted into a file of a folder, in which the newest `keep` files stay."
  @spec checkpoint_save(Path.t(), keep :: pos_integer, instance :: binary, [{atom, handle}]) ::
          {:ok, %{file: String.t(), keys: non_neg_integer, bytes: non_neg_integer}}
          | {:error, reason :: String.t()}
          | refusal
  def checkpoint_save(_folder, _keep, _instance, _limiters), do: not_loaded()

  @doc "Lets limiters continue from the newest valid file of a folder. Renames files that are not valid."
  @spec checkpoint_restore(Path.t(), instance :: binary, [{atom, handle}]) ::
          {:ok,
           %{
             file: String.t(),
             keys: non_neg_integer,
             left_out: non_neg_integer,
             dropped: [String.t()],
             age_ms: integer
           }
           | nil, refused :: [{file :: String.t(), reason :: String.t()}]}
          | {:error, reason :: String.t()}
          | refusal
  def checkpoint_restore(_folder, _instance, _limiters), do: not_loaded()

  ## RateLimiter.VSM.Gate: gates, which limit the calls at work, shed a share of them, and measure how the work went

  @type gate :: reference
  @type permit :: reference
  @type outcome :: :ok | :error | :timeout | :rejected | :none
  @type turned_away :: :shed | {:full, max :: pos_integer, in_flight :: pos_integer}
  @type work ::
          {ok :: non_neg_integer, errors :: non_neg_integer, timeouts :: non_neg_integer,
           rejected :: non_neg_integer, waited_us :: non_neg_integer, sum_us :: non_neg_integer,
           [{bucket :: non_neg_integer, count :: pos_integer}]}
  @type gate_totals ::
          {asked :: non_neg_integer, denied :: non_neg_integer, guarded :: non_neg_integer,
           shed :: non_neg_integer, abandoned :: non_neg_integer}

  @spec gate_new(:monotonic | clock, whole :: gate | nil) :: gate
  def gate_new(_clock, _whole), do: not_loaded()

  @spec gate_check(gate, handle, id, window, cost) :: usage | turned_away | refusal
  def gate_check(_gate, _limiter, _id, _window, _cost), do: not_loaded()

  @spec gate_enter(gate, handle, id, window, cost) ::
          {permit, usage} | usage | turned_away | refusal
  def gate_enter(_gate, _limiter, _id, _window, _cost), do: not_loaded()

  @spec gate_hold(gate) :: permit
  def gate_hold(_gate), do: not_loaded()

  @spec permit_finish(permit, outcome) :: boolean
  def permit_finish(_permit, _outcome), do: not_loaded()

  @spec gate_record(gate, outcome, us :: non_neg_integer) :: :ok
  def gate_record(_gate, _outcome, _us), do: not_loaded()

  @spec gate_cut(gate) :: :ok
  def gate_cut(_gate), do: not_loaded()

  @spec gate_set_guard(gate, pos_integer | nil) :: :ok
  def gate_set_guard(_gate, _max), do: not_loaded()

  @spec gate_set_room(gate, pos_integer | nil) :: :ok
  def gate_set_room(_gate, _max), do: not_loaded()

  @spec gate_set_open(gate, non_neg_integer) :: :ok
  def gate_set_open(_gate, _ppm), do: not_loaded()

  @spec gate_drain(gate) :: {fresh :: work, earlier :: work}
  def gate_drain(_gate), do: not_loaded()

  @spec gate_counts(gate) ::
          {gate_totals, in_flight :: non_neg_integer, guard :: pos_integer | nil,
           open_ppm :: non_neg_integer}
  def gate_counts(_gate), do: not_loaded()

  ## RateLimiter.Redis.Client: the connection to Redis, which lives as long as its owner

  @type store :: pos_integer
  @type credentials :: {username :: String.t() | nil, password :: String.t() | nil}
  @type tls ::
          {authorities :: binary | nil, {certificate :: binary, key :: binary} | nil,
           verify? :: boolean}
  @type address :: {host_or_path :: String.t(), port_or_0 :: 0..65_535}
  @type redis_config :: %{
          instance: binary,
          prefix: String.t(),
          id_key: binary | nil,
          topology:
            {:server, address}
            | {:sentinel, group :: String.t(), [address], credentials, :same | {:own, tls | nil}}
            | {:cluster, [address]},
          database: non_neg_integer,
          tls: tls | nil,
          timeout_ms: pos_integer,
          connect_timeout_ms: pos_integer,
          connections: pos_integer,
          max_queue: pos_integer,
          cache_denials: boolean,
          node: String.t(),
          nodes: pos_integer,
          keep_ms: pos_integer
        }
  @type breaker :: :closed | :opened | :half_open

  @typedoc "Sent to the subscriber as `{:redis_event, event}`."
  @type redis_event ::
          {:batch, server :: String.t(), calls :: pos_integer, duration_us :: non_neg_integer,
           failure :: String.t() | nil, missed :: non_neg_integer}
          | {:connection, server :: String.t() | nil, :up | :down | :failed | :refused,
             reason :: String.t() | nil}
          | {:eviction, server :: String.t(), policy :: String.t(), maxmemory :: pos_integer}
          | {:heartbeat, refusal :: String.t() | nil}
          | {:breaker, server :: String.t(), from :: breaker, to :: breaker, reason :: String.t()}
  @type failure :: :away | :full | :lost | String.t()
  @type reply :: integer | binary | nil | [reply]

  @spec redis_start(redis_config, credentials) :: {:ok, store, owner} | {:error, String.t()}
  def redis_start(_config, _credentials), do: not_loaded()

  @spec redis_stop(owner) :: :ok
  def redis_stop(_owner), do: not_loaded()

  @spec redis_subscribe(store, pid) :: [redis_event] | :unknown_store
  def redis_subscribe(_store, _subscriber), do: not_loaded()

  @spec redis_report_batches(store, boolean) :: :ok | :unknown_store
  def redis_report_batches(_store, _report?), do: not_loaded()

  @doc "Makes room for another batch event, after one was handled."
  @spec redis_handled(store) :: :ok | :unknown_store
  def redis_handled(_store), do: not_loaded()

  @spec redis_credentials(store, credentials) :: :ok | :unknown_store
  def redis_credentials(_store, _credentials), do: not_loaded()

  @spec redis_tls(store, :servers | :sentinels, tls) ::
          :ok | {:error, String.t()} | :unknown_store
  def redis_tls(_store, _peers, _tls), do: not_loaded()

  @spec redis_beat(store) :: (settled? :: boolean) | :unknown_store
  def redis_beat(_store), do: not_loaded()

  @spec redis_leave(store) :: :ok | :unknown_store
  def redis_leave(_store), do: not_loaded()

  @doc "Sends a command. The caller receives `{reference, {:ok, reply} | {:error, failure}}`."
  @spec redis_command(store, reference, key :: binary, words :: [binary, ...]) ::
          {:sent, wait_ms :: pos_integer} | :away | :full | :unknown_store
  def redis_command(_store, _reference, _key, _words), do: not_loaded()

  @spec redis_status(store) :: map | :unknown_store
  def redis_status(_store), do: not_loaded()

  ## RateLimiter.Store.Client: stores that are written in Elixir. A store lives as long as its owner.

  @type store_config :: %{
          instance: binary,
          prefix: String.t(),
          id_key: binary | nil,
          timeout_ms: pos_integer,
          workers: pos_integer,
          max_queue: pos_integer,
          cache_denials: boolean,
          nodes: pos_integer
        }

  @typedoc "The calls about one key, and the decision about them, for a store to pass on."
  @type store_calls :: reference
  @type store_reply :: reference
  @type store_result :: store_reply | {certain? :: boolean, reason :: String.t()}

  @spec store_start(store_config) :: {:ok, store, owner} | {:error, String.t()}
  def store_start(_config), do: not_loaded()

  @doc "Lets the calling process receive `{:store_breaker, from, to, reason}`."
  @spec store_listen(store) :: :ok | :unknown_store
  def store_listen(_store), do: not_loaded()

  @spec store_stop(owner) :: :ok
  def store_stop(_owner), do: not_loaded()

  @doc "Makes the calling process a worker, which receives `{:store_batch, number, [{key, store_calls}]}`."
  @spec store_join(store, worker :: non_neg_integer) :: :ok | :unknown_store
  def store_join(_store, _worker), do: not_loaded()

  @doc "Decides calls on the present value of their key. Without a time, this node's clock counts."
  @spec store_decide(store_calls, value :: binary | nil, now_us :: non_neg_integer | nil) ::
          {:put, binary, ttl_ms :: pos_integer, store_reply}
          | {:delete, store_reply}
          | {:keep, store_reply}
  def store_decide(_calls, _value, _now_us), do: not_loaded()

  @spec store_finish(store, worker :: non_neg_integer, number :: pos_integer, [store_result]) ::
          :ok | :unknown_store
  def store_finish(_store, _worker, _number, _results), do: not_loaded()

  @doc "Returns one call about a key, for `store_decide/3`: what a test of a store asks."
  @spec store_calls(
          key :: binary,
          [window_spec, ...],
          {op, cost :: integer, scale_ppm :: pos_integer}
        ) :: store_calls | {:error, String.t()}
  def store_calls(_key, _windows, _call), do: not_loaded()

  @typedoc "The usage of a window."
  @type store_usage ::
          {max :: non_neg_integer, remaining :: non_neg_integer, next_ms :: non_neg_integer,
           reset_ms :: non_neg_integer, retry_ms}

  @doc "Returns the usage of each window of such a call, or `:foreign` if the key holds no state."
  @spec store_usages(store_reply) :: [store_usage] | :foreign
  def store_usages(_reply), do: not_loaded()

  @spec store_status(store) :: map | :unknown_store
  def store_status(_store), do: not_loaded()

  ## RateLimiter.Replay.Engine: replays of logs, many lines a call

  @type replay :: reference
  @type field :: {clf :: atom | nil, json_names :: [String.t()]}
  @type schema ::
          {format :: :auto | :clf | :json, time_names :: [String.t()], time_unit :: atom | nil,
           key :: [field, ...], cost :: field | nil, about :: [field]}

  @spec replay_new([window_spec], schema, reorder_ns :: non_neg_integer, keep? :: boolean) ::
          {:ok, replay} | {:error, {index :: non_neg_integer | nil, String.t()}}
  def replay_new(_windows, _schema, _reorder_ns, _keep_requests?), do: not_loaded()

  @spec replay_open(replay) :: log :: non_neg_integer
  def replay_open(_replay), do: not_loaded()

  @spec replay_feed(replay, log :: non_neg_integer, binary) ::
          {lines :: non_neg_integer, latest_ns :: non_neg_integer | nil, late :: non_neg_integer}
  def replay_feed(_replay, _log, _bytes), do: not_loaded()

  @spec replay_close(replay, log :: non_neg_integer) :: :ok
  def replay_close(_replay, _log), do: not_loaded()

  @spec replay_input(replay) :: map
  def replay_input(_replay), do: not_loaded()

  @spec replay_outcome(replay, limit :: non_neg_integer, top :: non_neg_integer) :: map
  def replay_outcome(_replay, _limit, _top), do: not_loaded()

  @spec replay_fit(replay, limit :: non_neg_integer, shares_ppm :: [non_neg_integer]) :: map
  def replay_fit(_replay, _limit, _shares_ppm), do: not_loaded()

  ## The test that a panic stays inside

  @spec panic(String.t()) :: no_return
  def panic(_message), do: not_loaded()

  @doc false
  def load do
    case :erlang.load_nif(library(), 0) do
      :ok ->
        :ok

      # The running code uses the library, and keeps it.
      {:error, {kind, text}} when kind in [:reload, :upgrade, :old_code] ->
        {:error, {kind, text}}

      # The module loads without its library, so that each call can report what is missing.
      {:error, {_kind, text}} ->
        :persistent_term.put(__MODULE__, text)
    end
  end

  defp library do
    case :code.priv_dir(:rate_limiter) do
      {:error, :bad_name} -> ~c"priv/rate_limiter_nif"
      priv -> :filename.join(priv, ~c"rate_limiter_nif")
    end
  end

  defp not_loaded do
    reason = :persistent_term.get(__MODULE__, "it was not loaded")

    :erlang.nif_error(%RuntimeError{
      message:
        "the native library of RateLimiter is missing: #{reason}. " <>
          "`mix compile` builds it with Cargo, or set RATE_LIMITER_NIF to a ready-made one"
    })
  end
end
