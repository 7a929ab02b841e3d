//! The status of a Redis store as a term.

use std::time::Duration;

use rate_limiter_distributed::BreakerState;
use rate_limiter_redis::{Latency, ServerStatus, Status, LATENCY_BOUNDS_US};
use rustler::{Atom, Encoder, Env, NifMap, Term};

use crate::atoms;

/// The status of a store, with the counters since its start.
#[derive(NifMap)]
#[rustler(encode)]
pub(super) struct StatusTerm {
    nodes: u32,
    /// Why heartbeats are refused.
    heartbeat: Option<String>,
    problem: Option<String>,
    servers: Vec<ServerTerm>,
    calls: u64,
    batches: u64,
    timeouts: u64,
    refused: u64,
    unsent: u64,
    reconnections: u64,
    opened: u64,
}

#[derive(NifMap)]
#[rustler(encode)]
struct ServerTerm {
    server: String,
    breaker: BreakerTerm,
    connections: usize,
    pending: usize,
    round_trip_us: u64,
    recent_calls: u64,
    recent_failures: u64,
    failing: bool,
    problem: Option<String>,
    evicts: Option<String>,
    opened: u64,
    answered: LatencyTerm,
    failed: LatencyTerm,
}

#[derive(NifMap)]
#[rustler(encode)]
struct LatencyTerm {
    sum_us: u64,
    buckets: Vec<(Bound, u64)>,
}

/// The upper bound of a bucket in microseconds, or `:infinity`.
struct Bound(Option<u64>);

impl From<Latency> for LatencyTerm {
    fn from(latency: Latency) -> Self {
        let bounds = LATENCY_BOUNDS_US.iter().copied().map(Some).chain([None]);
        Self {
            sum_us: micros(latency.sum),
            buckets: bounds.map(Bound).zip(latency.counts).collect(),
        }
    }
}

impl Encoder for Bound {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let infinity: Atom = atoms::infinity();
        self.0.map_or(infinity.to_term(env), |us| us.encode(env))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

atom_enum!(BreakerTerm <= BreakerState { Closed = Closed, HalfOpen = HalfOpen, Opened = Open });

impl StatusTerm {
    pub(super) fn new(status: Status, nodes: u32, heartbeat: Option<String>) -> Self {
        let totals = status.totals;
        Self {
            nodes,
            heartbeat,
            problem: status.problem,
            servers: status.servers.into_iter().map(ServerTerm::from).collect(),
            calls: totals.calls,
            batches: totals.batches,
            timeouts: totals.timeouts,
            refused: totals.refused,
            unsent: totals.unsent,
            reconnections: totals.reconnections,
            opened: totals.opened,
        }
    }
}

impl From<ServerStatus> for ServerTerm {
    fn from(status: ServerStatus) -> Self {
        Self {
            server: status.server,
            breaker: status.breaker.into(),
            connections: status.connections,
            pending: status.pending,
            round_trip_us: micros(status.round_trip),
            recent_calls: status.recent_calls,
            recent_failures: status.recent_failures,
            failing: status.is_failing,
            problem: status.problem,
            evicts: status.evicts,
            opened: status.opened,
            answered: status.answered.into(),
            failed: status.failed.into(),
        }
    }
}
