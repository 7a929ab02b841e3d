%% @doc Named events, and the functions attached to them.
%%
%% A library calls {@link execute/3} or {@link span/3} where something worth
%% measuring happens; whoever cares attaches a handler to the name of the event
%% with {@link attach/4}. Handlers run one after another, in the process that
%% emits the event.
-module(telemetry).

-export([attach/4, attach_many/4, detach/1, list_handlers/1]).
-export([execute/2, execute/3, span/3, persist/0]).
%% For the logger.
-export([report_cb/1]).

-export_type([handler_id/0, handler_function/0, handler_config/0, handler/0,
              event_name/0, event_prefix/0,
              event_measurements/0, event_metadata/0, event_value/0,
              span_function/0, span_result/0]).

-include_lib("kernel/include/logger.hrl").

-type handler_id() :: term().
-type handler_config() :: term().
-type handler_function() :: fun((event_name(), event_measurements(),
                                 event_metadata(), handler_config()) -> any()).
-type handler() :: #{id := handler_id(),
                     event_name := event_name(),
                     function := handler_function(),
                     config := handler_config()}.

-type event_name() :: [atom(), ...].
-type event_prefix() :: [atom()].
-type event_measurements() :: map().
-type event_metadata() :: map().
-type event_value() :: number().

-type span_result() :: term().
-type span_function() ::
        fun(() -> {span_result(), event_metadata()} |
                  {span_result(), event_measurements(), event_metadata()}).

%% @doc Attaches a handler to an event.
%% @see attach_many/4
-spec attach(handler_id(), event_name(), handler_function(), handler_config()) ->
          ok | {error, already_exists}.
attach(HandlerId, EventName, Function, Config) ->
    attach_many(HandlerId, [EventName], Function, Config).

%% @doc Attaches a handler to each of several events.
%%
%% The id is unique among all attached handlers: with one that is taken,
%% nothing is attached and `{error, already_exists}' is returned. A handler
%% that fails at any of its events is detached from all of them.
%%
%% Prefer `fun Module:Function/4'. An anonymous function or a capture without a
%% module is copied with its environment at each event and breaks when its
%% module is reloaded; attaching one is logged at the `info' level.
-spec attach_many(handler_id(), [event_name()], handler_function(), handler_config()) ->
          ok | {error, already_exists}.
attach_many(HandlerId, EventNames, Function, Config) when is_function(Function, 4) ->
    lists:foreach(fun assert_event_name/1, EventNames),
    case erlang:fun_info(Function, type) of
        {type, external} ->
            ok;
        {type, local} ->
            ?LOG_INFO(#{handler_id => HandlerId,
                        event_names => EventNames,
                        function => Function,
                        config => Config,
                        type => local},
                      #{report_cb => fun ?MODULE:report_cb/1})
    end,
    telemetry_handler_table:insert(HandlerId, EventNames, Function, Config).

%% @doc Detaches a handler from all of its events.
%%
%% Once this has returned, no event emitted later calls the handler.
-spec detach(handler_id()) -> ok | {error, not_found}.
detach(HandlerId) ->
    telemetry_handler_table:delete(HandlerId).

%% @doc Lists the handlers of the events whose name starts with the prefix.
%%
%% A handler attached to several such events is listed once for each. The empty
%% prefix lists everything. While the application is not started there is none,
%% which a warning says.
-spec list_handlers(event_prefix()) -> [handler()].
list_handlers(EventPrefix) ->
    assert_event_prefix(EventPrefix),
    [#{id => HandlerId,
       event_name => EventName,
       function => Function,
       config => Config}
     || {EventName, HandlerId, Function, Config}
            <- telemetry_handler_table:list_by_prefix(EventPrefix)].

%% @equiv execute(EventName, Measurements, #{})
-spec execute(event_name(), event_measurements() | event_value()) -> ok.
execute(EventName, Measurements) ->
    execute(EventName, Measurements, #{}).

%% @doc Emits an event: calls every handler attached to exactly this name.
%%
%% A handler that fails is detached, is reported in an error log and in a
%% `[telemetry, handler, failure]' event, and stops neither the other handlers
%% nor the caller.
%%
%% A bare number in place of the measurements is deprecated. It is taken for
%% `#{value => Number}'.
-spec execute(event_name(), event_measurements() | event_value(), event_metadata()) -> ok.
execute([_ | _] = EventName, Measurements, Metadata)
  when is_map(Measurements), is_map(Metadata) ->
    case telemetry_handler_table:list_for_event(EventName) of
        [] -> ok;
        Rows -> call_handlers(Rows, EventName, Measurements, Metadata)
    end;
execute(EventName, Value, Metadata) when is_number(Value) ->
    ?LOG_WARNING("Using execute/3 with a single event value is deprecated: "
                 "pass a map of measurements.", []),
    execute(EventName, #{value => Value}, Metadata).

%% @doc Runs the function between a `start' event and a `stop' or `exception'
%% event.
%%
%% <ul>
%% <li>`EventPrefix ++ [start]', measuring `monotonic_time' and `system_time',
%%     with the given metadata;</li>
%% <li>`EventPrefix ++ [stop]', measuring `duration' and `monotonic_time',
%%     with the metadata the function returns, and nothing of the start's.
%%     Extra measurements may join these two, not replace them;</li>
%% <li>`EventPrefix ++ [exception]', measuring `duration' and
%%     `monotonic_time', with the start metadata and `kind', `reason' and
%%     `stacktrace'. The exception is then raised again.</li>
%% </ul>
%%
%% Times are in native units. The events of one call share a
%% `telemetry_span_context' in their metadata, a fresh reference unless the
%% metadata already has one.
-spec span(event_prefix(), event_metadata(), span_function()) -> span_result().
span(EventPrefix, StartMetadata, SpanFunction) ->
    StartTime = erlang:monotonic_time(),
    Context = make_ref(),
    execute(EventPrefix ++ [start],
            #{monotonic_time => StartTime, system_time => erlang:system_time()},
            with_context(StartMetadata, Context)),
    %% The stop event is emitted outside the protected part: an error there, or
    %% a result of another shape, is not an exception of the function.
    try SpanFunction() of
        {Result, StopMetadata} ->
            execute(EventPrefix ++ [stop],
                    span_end(StartTime),
                    with_context(StopMetadata, Context)),
            Result;
        {Result, ExtraMeasurements, StopMetadata} ->
            execute(EventPrefix ++ [stop],
                    maps:merge(ExtraMeasurements, span_end(StartTime)),
                    with_context(StopMetadata, Context)),
            Result
    catch
        Class:Reason:Stacktrace ->
            execute(EventPrefix ++ [exception],
                    span_end(StartTime),
                    with_context(StartMetadata#{kind => Class,
                                                reason => Reason,
                                                stacktrace => Stacktrace},
                                 Context)),
            erlang:raise(Class, Reason, Stacktrace)
    end.

%% @doc Keeps the handlers where {@link execute/3} finds them fastest, until the
%% application stops.
%%
%% From now on each attach and detach makes the runtime look through all its
%% processes. Call it where all is attached that will be.
-spec persist() -> ok.
persist() ->
    telemetry_handler_table:persist().

%% @private
%% Words the log report about a local function.
-spec report_cb(logger:report()) -> {io:format(), [term()]}.
report_cb(#{handler_id := HandlerId}) ->
    {"The function passed as a handler with ID ~p is a local function: "
     "it is anonymous or was captured without its module, "
     "which makes it slower to call. "
     "See telemetry:attach_many/4.", [HandlerId]}.

%%% Internals

-spec call_handlers([telemetry_handler_table:row()],
                    event_name(), event_measurements(), event_metadata()) -> ok.
call_handlers([], _EventName, _Measurements, _Metadata) ->
    ok;
call_handlers([{_, HandlerId, Function, Config} | Rows], EventName, Measurements, Metadata) ->
    try
        Function(EventName, Measurements, Metadata, Config)
    catch
        Class:Reason:Stacktrace ->
            handler_failed(HandlerId, EventName, Config, Class, Reason, Stacktrace)
    end,
    call_handlers(Rows, EventName, Measurements, Metadata).

-spec handler_failed(handler_id(), event_name(), handler_config(),
                     error | exit | throw, term(), erlang:stacktrace()) -> ok.
handler_failed(HandlerId, EventName, Config, Class, Reason, Stacktrace) ->
    _ = detach(HandlerId),
    execute([telemetry, handler, failure],
            #{monotonic_time => erlang:monotonic_time(),
              system_time => erlang:system_time()},
            #{event_name => EventName,
              handler_id => HandlerId,
              handler_config => Config,
              kind => Class,
              reason => Reason,
              stacktrace => Stacktrace}),
    ?LOG_ERROR("Handler ~p has failed and has been detached. "
               "Class=~p~nReason=~p~nStacktrace=~p~n",
               [HandlerId, Class, Reason, Stacktrace]).

-spec span_end(integer()) -> event_measurements().
span_end(StartTime) ->
    StopTime = erlang:monotonic_time(),
    #{duration => StopTime - StartTime, monotonic_time => StopTime}.

-spec with_context(event_metadata(), term()) -> event_metadata().
with_context(#{telemetry_span_context := _} = Metadata, _Context) ->
    Metadata;
with_context(Metadata, Context) ->
    Metadata#{telemetry_span_context => Context}.

-spec assert_event_name(term()) -> ok.
assert_event_name([_ | _] = EventName) ->
    assert_event_prefix(EventName);
assert_event_name(EventName) ->
    erlang:error(badarg, [EventName]).

-spec assert_event_prefix(term()) -> ok.
assert_event_prefix([]) ->
    ok;
assert_event_prefix([Name | Names]) when is_atom(Name) ->
    assert_event_prefix(Names);
assert_event_prefix(EventPrefix) ->
    erlang:error(badarg, [EventPrefix]).
