%% @private
%% The supervisor of the only process the application has.
-module(telemetry_sup).

-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Flags = #{strategy => one_for_one, intensity => 1, period => 5},
    Table = #{id => telemetry_handler_table,
              start => {telemetry_handler_table, start_link, []}},
    {ok, {Flags, [Table]}}.
