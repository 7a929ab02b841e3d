%% @private
%% The table of attached handlers.
%%
%% The rows live in an ETS table that any process reads directly; this server
%% owns the table and is its only writer, which makes attaching and detaching
%% atomic with respect to each other. Its state maps the id of each attached
%% handler to the events it listens to.
-module(telemetry_handler_table).

-behaviour(gen_server).

-export([start_link/0, insert/4, delete/1, persist/0, list_for_event/1, list_by_prefix/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([row/0]).

-include_lib("kernel/include/logger.hrl").

-type row() :: {telemetry:event_name(),
                telemetry:handler_id(),
                telemetry:handler_function(),
                telemetry:handler_config()}.

-type state() :: #{telemetry:handler_id() => [telemetry:event_name(), ...]}.

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Adds a handler to the given events, unless its id is taken.
-spec insert(telemetry:handler_id(),
             [telemetry:event_name()],
             telemetry:handler_function(),
             telemetry:handler_config()) -> ok | {error, already_exists}.
insert(HandlerId, EventNames, Function, Config) ->
    gen_server:call(?MODULE, {insert, HandlerId, EventNames, Function, Config}).

%% @doc Removes a handler from all of its events.
-spec delete(telemetry:handler_id()) -> ok | {error, not_found}.
delete(HandlerId) ->
    gen_server:call(?MODULE, {delete, HandlerId}).

%% @doc Keeps the rows in a persistent term, too, now and after each change.
-spec persist() -> ok.
persist() ->
    gen_server:call(?MODULE, persist).

%% @doc Returns the rows of exactly this event, in the order of attaching.
%%
%% Never fails: when the application is not started it logs a warning and
%% returns no rows, since emitting an event must not harm the process that
%% emits it.
-spec list_for_event(telemetry:event_name()) -> [row()].
list_for_event(EventName) ->
    case telemetry_audience:present(EventName) of
        false -> [];
        true -> lookup(EventName);
        closed -> no_table();
        Rows -> Rows
    end.

%% @doc Returns the rows of all events whose name starts with the prefix.
-spec list_by_prefix(telemetry:event_prefix()) -> [row()].
list_by_prefix(EventPrefix) ->
    [Row || {EventName, _, _, _} = Row <- all(),
            lists:prefix(EventPrefix, EventName)].

%%% gen_server

-spec init([]) -> {ok, state()}.
init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, duplicate_bag, protected,
                                {read_concurrency, true}]),
    ok = telemetry_audience:open(),
    {ok, #{}}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()}.
handle_call({insert, HandlerId, _, _, _}, _From, State) when is_map_key(HandlerId, State) ->
    {reply, {error, already_exists}, State};
handle_call({insert, _, [], _, _}, _From, State) ->
    {reply, ok, State};
handle_call({insert, HandlerId, EventNames, Function, Config}, _From, State) ->
    true = ets:insert(?MODULE, [{EventName, HandlerId, Function, Config}
                                || EventName <- EventNames]),
    lists:foreach(fun telemetry_audience:join/1, EventNames),
    ok = persist_again(),
    {reply, ok, State#{HandlerId => EventNames}};
handle_call(persist, _From, State) ->
    {reply, telemetry_audience:persist(by_event()), State};
handle_call({delete, HandlerId}, _From, State) ->
    case maps:take(HandlerId, State) of
        {EventNames, NewState} ->
            lists:foreach(fun(EventName) -> delete_rows(EventName, HandlerId) end,
                          lists:usort(EventNames)),
            lists:foreach(fun telemetry_audience:leave/1, EventNames),
            ok = persist_again(),
            {reply, ok, NewState};
        error ->
            {reply, {error, not_found}, State}
    end.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Message, State) ->
    {noreply, State}.

%%% Internals

-spec persist_again() -> ok.
persist_again() ->
    case telemetry_audience:persisted() of
        true -> telemetry_audience:persist(by_event());
        false -> ok
    end.

%% Those of one event in the order of attaching, as a lookup has them.
-spec by_event() -> #{telemetry:event_name() => [row(), ...]}.
by_event() ->
    EventNames = lists:usort([EventName || {EventName, _, _, _} <- all()]),
    maps:from_list([{EventName, ets:lookup(?MODULE, EventName)} || EventName <- EventNames]).

-spec all() -> [row()].
all() ->
    try
        ets:tab2list(?MODULE)
    catch
        error:badarg -> no_table()
    end.

%% The table can vanish between the check and the lookup.
-spec lookup(telemetry:event_name()) -> [row()].
lookup(EventName) ->
    try
        ets:lookup(?MODULE, EventName)
    catch
        error:badarg -> no_table()
    end.

-spec no_table() -> [].
no_table() ->
    ?LOG_WARNING("Failed to lookup telemetry handlers: "
                 "the telemetry application is not started.", []),
    [].

%% By row and not by pattern: ids and event names may hold atoms that mean
%% something in a pattern, such as '_'.
-spec delete_rows(telemetry:event_name(), telemetry:handler_id()) -> ok.
delete_rows(EventName, HandlerId) ->
    lists:foreach(fun(Row) -> true = ets:delete_object(?MODULE, Row) end,
                  [Row || {_, Id, _, _} = Row <- ets:lookup(?MODULE, EventName),
                          Id =:= HandlerId]).
