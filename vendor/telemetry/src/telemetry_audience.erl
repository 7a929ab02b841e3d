%% @private
%% How many handlers listen to each event.
%%
%% `telemetry:execute/3' runs on hot paths where, most of the time, nobody
%% listens, and an ETS lookup is a dear way to learn that: it hashes the event
%% name and takes a lock only to find nothing. Persistent terms are read
%% without a lock and without copying, so the question "is anybody there?" is
%% put to them first and ETS is reached only when the answer is yes.
%%
%% Replacing or erasing a persistent term makes the runtime scan the heap of
%% every process, which would make each attach and detach cost milliseconds of
%% CPU on a busy node, and test suites attach and detach thousands of times.
%% So the handlers themselves stay in ETS, and what is kept here is written
%% once:
%%
%% <ul>
%% <li>under the name of this module, the state of the house: `vacant' until
%%     the first handler is attached, `occupied' from then on, absent while
%%     the application is not started. It changes once per start and stop,
%%     unless `telemetry:persist/0' asks for more: then it is a map from each
%%     event to its handlers, and nobody asks ETS any more;</li>
%% <li>under `[telemetry_audience | EventName]', an atomic counter of the
%%     handlers of that event. Adding a new key scans nothing, and from then on
%%     only the counter moves, never the term. The key outlives its handlers;
%%     there are as many as distinct event names, which are lists of atoms and
%%     so are bounded the way atoms are.</li>
%% </ul>
%%
%% Only the process that owns the handler table writes. It counts a handler
%% after inserting it and discounts it after deleting it, in both cases before
%% it replies, and atomics are sequentially consistent: an execute that begins
%% after attach returned finds the handler, and one that begins after detach
%% returned does not.
-module(telemetry_audience).

-export([open/0, close/0, join/1, leave/1, present/1, persist/1, persisted/0]).

-define(COUNTER(EventName), [?MODULE | EventName]).

%% @doc Declares the application started, with nobody listening.
-spec open() -> ok.
open() ->
    %% Counters of an earlier run may be left; their handlers are gone.
    _ = [atomics:put(Counter, 1, 0) || {?COUNTER(_), Counter} <- persistent_term:get()],
    persistent_term:put(?MODULE, vacant).

%% @doc Declares the application stopped.
-spec close() -> ok.
close() ->
    _ = persistent_term:erase(?MODULE),
    ok.

%% @doc Counts one more handler of the event.
-spec join(telemetry:event_name()) -> ok.
join(EventName) ->
    case persistent_term:get(?COUNTER(EventName), none) of
        none ->
            Counter = atomics:new(1, []),
            ok = atomics:put(Counter, 1, 1),
            ok = persistent_term:put(?COUNTER(EventName), Counter);
        Counter ->
            ok = atomics:add(Counter, 1, 1)
    end,
    case persistent_term:get(?MODULE) of
        vacant -> persistent_term:put(?MODULE, occupied);
        _ -> ok
    end.

%% @doc Counts one handler of the event less.
-spec leave(telemetry:event_name()) -> ok.
leave(EventName) ->
    atomics:sub(persistent_term:get(?COUNTER(EventName)), 1, 1).

%% @doc Declares these to be all handlers that there are.
-spec persist(#{telemetry:event_name() => [telemetry_handler_table:row(), ...]}) -> ok.
persist(Rows) ->
    persistent_term:put(?MODULE, Rows).

%% @doc Tells whether the handlers themselves are kept here.
-spec persisted() -> boolean().
persisted() ->
    is_map(persistent_term:get(?MODULE, closed)).

%% @doc Tells whether anybody listens to the event, and who where that is kept
%% here.
-spec present(telemetry:event_name()) ->
          boolean() | [telemetry_handler_table:row(), ...] | closed.
present(EventName) ->
    case persistent_term:get(?MODULE, closed) of
        vacant ->
            false;
        occupied ->
            case persistent_term:get(?COUNTER(EventName), none) of
                none -> false;
                Counter -> atomics:get(Counter, 1) > 0
            end;
        #{EventName := Rows} ->
            Rows;
        #{} ->
            false;
        closed ->
            closed
    end.
