//! How a link is doing, as terms.

use rate_limiter_distributed::{BreakerState, Share};
use rate_limiter_redis::{ServerStatus, Status};
use rustler::{Atom, Encoder, Env, Term};

use crate::atoms;

/// `{[{server, breaker, connections, pending, problem | nil, evicts | nil}], problem | nil, totals, nodes}`, the totals as `{calls,
/// batches, timeouts, refused, unsent, reconnections, opened}`.
pub(super) fn encode<'a>(env: Env<'a>, status: &Status, share: Share) -> Term<'a> {
    let server = |server: &ServerStatus| {
        let breaker = breaker(server.breaker);
        (
            &server.server,
            breaker,
            server.connections,
            server.pending,
            &server.problem,
            &server.evicts,
        )
            .encode(env)
    };
    let servers: Vec<Term> = status.servers.iter().map(server).collect();
    let totals = status.totals;
    let totals = (
        totals.calls,
        totals.batches,
        totals.timeouts,
        totals.refused,
        totals.unsent,
        totals.reconnections,
        totals.opened,
    );
    (servers, &status.problem, totals, share.nodes).encode(env)
}

pub(super) fn breaker(state: BreakerState) -> Atom {
    match state {
        BreakerState::Closed => atoms::closed(),
        BreakerState::HalfOpen => atoms::half_open(),
        BreakerState::Open => atoms::opened(),
    }
}
