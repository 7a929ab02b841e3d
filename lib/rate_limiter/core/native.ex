defmodule RateLimiter.Core.Native do
  @moduledoc false
  # The native library's functions, one stub each. Only `RateLimiter.Store` and its rooms call them; those that
  # speak with Redis, `RateLimiter.Redis.Client` and `RateLimiter.Store.Request`; those of the replay, its engine.
  #
  # A library of Rustler's is loaded once: the runtime refuses to load it over itself. Nothing in this
  # file depends on anything else in the project, so that `recompile` never has to compile it again.

  @on_load :load

  @type limiter :: atom | handle
  @type handle :: non_neg_integer
  @type owner :: reference
  @type clock :: reference
  @type id :: RateLimiter.id()
  @type window :: atom
  @type cost :: integer
  @type events :: :all | :denials | :none
  @type verdict :: :ok | :rate_limited
  @type retry_ms :: non_neg_integer | :infinity
  @type answer ::
          {verdict, events, max :: non_neg_integer, remaining :: non_neg_integer,
           reset_ms :: non_neg_integer, retry_ms, scale_ppm :: pos_integer}
  @type row ::
          {window, max :: non_neg_integer, remaining :: non_neg_integer,
           reset_ms :: non_neg_integer, retry_ms}
  @type answers :: {verdict, events, scale_ppm :: pos_integer, binding :: window, [row, ...]}
  @type refusal :: :unknown_limiter | :unknown_window | :bad_id | :test_owned | :remote
  @type window_spec ::
          {window, algorithm :: atom, limit :: pos_integer, per_ns :: pos_integer,
           burst :: pos_integer | nil, sub_windows :: pos_integer | nil, aligned? :: boolean}
  @type options :: {events, max_keys :: pos_integer, clock :: :monotonic | clock}
  @type plan ::
          {scale_ppm :: pos_integer,
           [{window, atom, pos_integer, pos_integer, pos_integer | nil, pos_integer}]}
  @type stats ::
          {keys :: non_neg_integer, bytes :: non_neg_integer, checks :: non_neg_integer,
           denials :: non_neg_integer, overflowed :: non_neg_integer, swept :: non_neg_integer}

  # Deciding

  @spec check(limiter, id, window, cost) :: answer | refusal
  def check(_limiter, _id, _window, _cost), do: not_loaded()

  @spec peek(limiter, id, window, cost) :: answer | refusal
  def peek(_limiter, _id, _window, _cost), do: not_loaded()

  @spec check_windows(limiter, id, [window, ...] | :all, cost) :: answers | refusal
  def check_windows(_limiter, _id, _windows, _cost), do: not_loaded()

  @spec check_once(
          limiter,
          id,
          [window, ...] | :all,
          cost,
          {request :: binary, keep_ns :: pos_integer}
        ) ::
          answers | refusal
  def check_once(_limiter, _id, _windows, _cost, _request), do: not_loaded()

  @spec peek_windows(limiter, id, [window, ...] | :all, cost) :: answers | refusal
  def peek_windows(_limiter, _id, _windows, _cost), do: not_loaded()

  @spec check_batch(limiter, [{id, cost}], window, :take | :peek) :: [answer] | refusal
  def check_batch(_limiter, _entries, _window, _mode), do: not_loaded()

  @spec check_batch_dirty(limiter, [{id, cost}], window, :take | :peek) :: [answer] | refusal
  def check_batch_dirty(_limiter, _entries, _window, _mode), do: not_loaded()

  @spec refund(limiter, id, [window, ...] | :all, cost) :: answers | refusal
  def refund(_limiter, _id, _windows, _cost), do: not_loaded()

  @spec reset(limiter, id, [window, ...] | :all) :: :ok | refusal
  def reset(_limiter, _id, _windows), do: not_loaded()

  @spec is_id(term) :: boolean
  def is_id(_term), do: not_loaded()

  # A limiter's life and name

  @spec new_limiter([window_spec, ...], options) ::
          {:ok, handle, owner} | {:error, {window | nil, String.t()}}
  def new_limiter(_windows, _options), do: not_loaded()

  @spec drop(owner) :: :ok
  def drop(_owner), do: not_loaded()

  @spec bind(atom, owner) :: :ok | {:error, :taken}
  def bind(_name, _owner), do: not_loaded()

  @spec unbind(atom, handle) :: :ok
  def unbind(_name, _handle), do: not_loaded()

  @spec set_test_owned(atom, boolean) :: :ok
  def set_test_owned(_name, _owned?), do: not_loaded()

  @spec handle(atom) :: handle | nil
  def handle(_name), do: not_loaded()

  # Its limits and numbers

  @spec plan(limiter) :: plan | refusal
  def plan(_limiter), do: not_loaded()

  @spec update_limit(limiter, window, pos_integer, pos_integer, pos_integer | nil) ::
          :ok | refusal | {:error, String.t()}
  def update_limit(_limiter, _window, _limit, _per_ns, _burst), do: not_loaded()

  @spec set_scale(limiter, pos_integer) :: :ok | refusal
  def set_scale(_limiter, _ppm), do: not_loaded()

  @spec stats(limiter) :: stats | refusal
  def stats(_limiter), do: not_loaded()

  @spec full(limiter) :: boolean | refusal
  def full(_limiter), do: not_loaded()

  @spec sweep(limiter, pos_integer) :: non_neg_integer | refusal
  def sweep(_limiter, _max_slots), do: not_loaded()

  # Gates: how many are at work at once, what share goes on, and how the work went

  @type gate :: reference
  @type permit :: reference
  @type outcome :: :ok | :error | :timeout | :rejected | :none
  @type away :: :shed | {:full, max :: pos_integer, in_flight :: pos_integer}
  @type work ::
          {ok :: non_neg_integer, errors :: non_neg_integer, timeouts :: non_neg_integer,
           rejected :: non_neg_integer, waited_us :: non_neg_integer, sum_us :: non_neg_integer,
           [{bucket :: non_neg_integer, count :: pos_integer}]}
  @type gate_totals ::
          {asked :: non_neg_integer, denied :: non_neg_integer, guarded :: non_neg_integer,
           shed :: non_neg_integer, abandoned :: non_neg_integer}

  @spec gate_new(:monotonic | clock, whole :: gate | nil) :: gate
  def gate_new(_clock, _whole), do: not_loaded()

  @spec gate_check(gate, limiter, id, window, cost) :: answer | away | refusal
  def gate_check(_gate, _limiter, _id, _window, _cost), do: not_loaded()

  @spec gate_enter(gate, limiter, id, window, cost) :: {permit, answer} | answer | away | refusal
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

  # Limiters of which Redis decides. What is not known at once is sent to the caller, as `{reference, answer}`

  @type op :: :take | :peek | :refund | :reset
  @type what :: {op, cost, {request :: binary, keep_ns :: pos_integer} | nil}
  @type source :: :redis | :fallback
  @type remote_verdict :: verdict | :unavailable
  @type remote_answer ::
          {remote_verdict, events, source, scale_ppm :: pos_integer, binding :: window,
           [row, ...]}
          | {remote_verdict, events, source, scale_ppm :: pos_integer}
          | :ok
  @type turned(answer) :: answer | {:away | :back, answer}
  @type ticket :: reference
  @type sent :: {:sent, ticket, wait_ms :: pos_integer}
  @type remote_stats ::
          {{remembered :: non_neg_integer, bytes :: non_neg_integer, checks :: non_neg_integer,
            denials :: non_neg_integer},
           {cached_denials :: non_neg_integer, fallbacks :: non_neg_integer,
            unavailable :: non_neg_integer},
           {pending :: non_neg_integer, owing :: non_neg_integer, away? :: boolean}}

  @spec remote_ask(limiter, reference, id, [window, ...] | :all, what) ::
          sent | turned(remote_answer) | refusal
  def remote_ask(_limiter, _reference, _id, _windows, _what), do: not_loaded()

  @spec remote_alone(limiter, id, [window, ...] | :all, what) :: turned(remote_answer) | refusal
  def remote_alone(_limiter, _id, _windows, _what), do: not_loaded()

  @spec remote_ask_batch(limiter, reference, [{id, cost}], [window, ...] | :all, op) ::
          sent | [turned(remote_answer)] | refusal
  def remote_ask_batch(_limiter, _reference, _entries, _windows, _op), do: not_loaded()

  @spec remote_ask_batch_dirty(limiter, reference, [{id, cost}], [window, ...] | :all, op) ::
          sent | [turned(remote_answer)] | refusal
  def remote_ask_batch_dirty(_limiter, _reference, _entries, _windows, _op), do: not_loaded()

  @spec remote_cancel(ticket) :: :left | :told
  def remote_cancel(_ticket), do: not_loaded()

  @spec remote_fits([window_spec, ...]) :: :ok | {:error, {window | nil, String.t()}}
  def remote_fits(_windows), do: not_loaded()

  @spec remote_new(
          [window_spec, ...],
          {events, max_keys :: pos_integer, on_outage :: :share | :allow | :deny},
          {store, name :: atom}
        ) ::
          {:ok, handle, owner}
          | {:error, {window | nil, String.t()}}
          | {:error, :unknown_store}
  def remote_new(_windows, _options, _where), do: not_loaded()

  @spec remote_plan(limiter) :: plan | :unknown_limiter
  def remote_plan(_limiter), do: not_loaded()

  @spec remote_update_limit(limiter, window, pos_integer, pos_integer, pos_integer | nil) ::
          :ok | refusal | {:error, String.t()}
  def remote_update_limit(_limiter, _window, _limit, _per_ns, _burst), do: not_loaded()

  @spec remote_set_scale(limiter, pos_integer) :: :ok | refusal
  def remote_set_scale(_limiter, _ppm), do: not_loaded()

  @spec remote_stats(limiter) :: remote_stats | :unknown_limiter
  def remote_stats(_limiter), do: not_loaded()

  @spec remote_sweep(limiter, pos_integer) :: non_neg_integer | :unknown_limiter
  def remote_sweep(_limiter, _max_slots), do: not_loaded()

  # The way to Redis. It lives as long as its owner, and tells a process `{:redis_event, event}`

  @type store :: pos_integer
  @type credentials :: {username :: String.t() | nil, password :: String.t() | nil}
  @type tls ::
          {authorities :: binary | nil, {certificate :: binary, key :: binary} | nil,
           verify? :: boolean}
  @type redis_config :: %{
          prefix: String.t(),
          topology:
            {:server | :sentinel | :cluster,
             [{host_or_path :: String.t(), port_or_0 :: 0..65_535}],
             {group :: String.t(), credentials} | nil},
          database: non_neg_integer,
          tls: tls | nil,
          timeout_ms: pos_integer,
          connections: pos_integer,
          max_queue: pos_integer,
          cache_denials: boolean,
          node: String.t(),
          nodes: pos_integer,
          keep_ms: pos_integer
        }
  @type breaker :: :closed | :opened | :half_open
  @type redis_event ::
          {:batch, server :: String.t(), calls :: pos_integer, duration_us :: non_neg_integer,
           failure :: String.t() | nil, missed :: non_neg_integer}
          | {:connection, server :: String.t() | nil, :up | :down | :failed | :refused,
             reason :: String.t() | nil}
          | {:eviction, server :: String.t(), policy :: String.t(), maxmemory :: pos_integer}
          | {:breaker, server :: String.t(), from :: breaker, to :: breaker, reason :: String.t()}
  @type redis_status ::
          {[
             {server :: String.t(), breaker, connections :: non_neg_integer,
              pending :: non_neg_integer, problem :: String.t() | nil, evicts :: String.t() | nil}
           ], problem :: String.t() | nil,
           {calls :: non_neg_integer, batches :: non_neg_integer, timeouts :: non_neg_integer,
            refused :: non_neg_integer, unsent :: non_neg_integer,
            reconnections :: non_neg_integer, opened :: non_neg_integer}, nodes :: pos_integer}

  @spec redis_start(redis_config, credentials) :: {:ok, store, owner} | {:error, String.t()}
  def redis_start(_config, _credentials), do: not_loaded()

  @spec redis_stop(owner) :: :ok
  def redis_stop(_owner), do: not_loaded()

  @spec redis_watch(store, pid) :: [redis_event] | :unknown_store
  def redis_watch(_store, _watcher), do: not_loaded()

  @spec redis_listen(store, boolean) :: :ok | :unknown_store
  def redis_listen(_store, _listen?), do: not_loaded()

  @spec redis_heard(store) :: :ok | :unknown_store
  def redis_heard(_store), do: not_loaded()

  @spec redis_credentials(store, credentials) :: :ok | :unknown_store
  def redis_credentials(_store, _credentials), do: not_loaded()

  @spec redis_tls(store, tls) :: :ok | {:error, String.t()} | :unknown_store
  def redis_tls(_store, _tls), do: not_loaded()

  @spec redis_beat(store) :: :ok | :unknown_store
  def redis_beat(_store), do: not_loaded()

  @spec redis_leave(store) :: :ok | :unknown_store
  def redis_leave(_store), do: not_loaded()

  # What is sent is answered to the caller, as `{reference, {:ok, reply} | {:error, failure}}`
  @type failure :: :away | :full | :lost | String.t()
  @type reply :: integer | binary | nil | [reply]

  @spec redis_command(store, reference, key :: binary, words :: [binary, ...]) ::
          {:sent, wait_ms :: pos_integer} | :away | :full | :unknown_store
  def redis_command(_store, _reference, _key, _words), do: not_loaded()

  @spec redis_status(store) :: redis_status | :unknown_store
  def redis_status(_store), do: not_loaded()

  # A clock for tests and replays

  @spec manual_clock(non_neg_integer) :: clock
  def manual_clock(_start_ns), do: not_loaded()

  @spec manual_clock_advance(clock, non_neg_integer) :: non_neg_integer
  def manual_clock_advance(_clock, _ns), do: not_loaded()

  @spec manual_clock_set(clock, non_neg_integer) :: non_neg_integer
  def manual_clock_set(_clock, _ns), do: not_loaded()

  @spec manual_clock_now(clock) :: non_neg_integer
  def manual_clock_now(_clock), do: not_loaded()

  # Replays of logs: a chunk of many lines a call

  @type replay :: reference
  @type field :: {clf :: atom | nil, json_names :: [String.t()]}
  @type schema ::
          {format :: :auto | :clf | :json, time_names :: [String.t()], time_unit :: atom | nil,
           key :: [field, ...], cost :: field | nil}

  @spec replay_new(
          [window_spec],
          schema,
          reorder_ns :: non_neg_integer,
          keep_requests? :: boolean
        ) ::
          {:ok, replay} | {:error, {index :: non_neg_integer | nil, String.t()}}
  def replay_new(_windows, _schema, _reorder_ns, _keep_requests?), do: not_loaded()

  @spec replay_open(replay) :: log :: non_neg_integer
  def replay_open(_replay), do: not_loaded()

  @spec replay_feed(replay, log :: non_neg_integer, binary) ::
          {lines :: non_neg_integer, latest_ns :: non_neg_integer | nil}
  def replay_feed(_replay, _log, _bytes), do: not_loaded()

  @spec replay_close(replay, log :: non_neg_integer) :: :ok
  def replay_close(_replay, _log), do: not_loaded()

  @spec replay_input(replay) :: map
  def replay_input(_replay), do: not_loaded()

  @spec replay_outcome(replay, limit :: non_neg_integer, top :: non_neg_integer) :: map
  def replay_outcome(_replay, _limit, _top), do: not_loaded()

  @spec replay_fit(replay, limit :: non_neg_integer, shares_ppm :: [non_neg_integer]) :: map
  def replay_fit(_replay, _limit, _shares_ppm), do: not_loaded()

  # For the test that a panic stays inside

  @spec panic(String.t()) :: no_return
  def panic(_message), do: not_loaded()

  @doc false
  def load do
    case :erlang.load_nif(library(), 0) do
      :ok ->
        :ok

      # The library is in use by the code that is running: that code stays.
      {:error, {kind, text}} when kind in [:reload, :upgrade, :old_code] ->
        {:error, {kind, text}}

      # The module loads without its library, so that each call can say what is missing.
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
