%% @doc Help for tests that expect events.
-module(telemetry_test).

-export([attach_event_handlers/2]).
%% The handler.
-export([handle_event/4]).

%% @doc Sends a message to a process for each emission of the given events.
%%
%% The messages are `{EventName, Ref, Measurements, Metadata}', where `Ref' is
%% the returned reference. It is also the id of the attached handler, so
%% `telemetry:detach(Ref)' ends the messages.
-spec attach_event_handlers(pid(), [telemetry:event_name(), ...]) -> reference().
attach_event_handlers(DestinationPid, EventNames)
  when is_pid(DestinationPid), is_list(EventNames) ->
    Ref = make_ref(),
    ok = telemetry:attach_many(Ref, EventNames, fun ?MODULE:handle_event/4,
                               #{destination => DestinationPid, ref => Ref}),
    Ref.

%% @private
-spec handle_event(telemetry:event_name(),
                   telemetry:event_measurements(),
                   telemetry:event_metadata(),
                   #{destination := pid(), ref := reference()}) -> term().
handle_event(EventName, Measurements, Metadata, #{destination := Pid, ref := Ref}) ->
    Pid ! {EventName, Ref, Measurements, Metadata}.
