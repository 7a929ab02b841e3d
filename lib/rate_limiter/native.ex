defmodule RateLimiter.Native do
  @moduledoc false
  # The native library's functions, one stub each. `RateLimiter.Engine` is their only caller, and
  # `RateLimiter.Replay.Engine` that of the replay's.
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
  @type refusal :: :unknown_limiter | :unknown_window | :bad_id | :test_owned
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

  @spec plan(limiter) :: plan | :unknown_limiter
  def plan(_limiter), do: not_loaded()

  @spec update_limit(limiter, window, pos_integer, pos_integer, pos_integer | nil) ::
          :ok | refusal | {:error, String.t()}
  def update_limit(_limiter, _window, _limit, _per_ns, _burst), do: not_loaded()

  @spec set_scale(limiter, pos_integer) :: :ok | refusal
  def set_scale(_limiter, _ppm), do: not_loaded()

  @spec stats(limiter) :: stats | :unknown_limiter
  def stats(_limiter), do: not_loaded()

  @spec full(limiter) :: boolean | :unknown_limiter
  def full(_limiter), do: not_loaded()

  @spec sweep(limiter, pos_integer) :: non_neg_integer | :unknown_limiter
  def sweep(_limiter, _max_slots), do: not_loaded()

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
