%% @private
%% The application callback: starts the supervisor and, once the tree is gone
%% for whatever reason, declares the audience closed.
-module(telemetry_app).

-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    telemetry_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    telemetry_audience:close().
