//! The state of a client, for operators, statistics and health checks.

use std::time::Duration;

use rate_limiter_distributed::breaker::State;

use crate::latency::Latency;

/// The state of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The servers that calls go to now; empty while the topology is unknown.
    pub servers: Vec<ServerStatus>,
    /// Why the topology is unknown or out of date, if it is.
    pub problem: Option<String>,
    /// Counters since the start.
    pub totals: Totals,
}

/// The state of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// `host:port` or a path.
    pub server: String,
    /// Whether calls go there.
    pub breaker: State,
    /// Connections that are up.
    pub connections: usize,
    /// Calls in the queue or in flight.
    pub pending: usize,
    /// The smoothed time from sending calls to their reply; zero before the first connection.
    pub round_trip: Duration,
    /// The calls of the last five seconds that were answered or given up.
    pub recent_calls: u64,
    /// Those of them that the server has not answered.
    pub recent_failures: u64,
    /// Whether these are more than one in ten.
    pub is_failing: bool,
    /// How long calls waited that the server answered.
    pub answered: Latency,
    /// How long calls waited that it refused or did not answer, or whose connection broke.
    pub failed: Latency,
    /// Times that its breaker opened.
    pub opened: u64,
    /// The last error, as the server or the system reported it. Cleared by success, unless the server is failing.
    pub problem: Option<String>,
    /// The `maxmemory-policy` by which the server evicts keys when its memory is full, if it does and shows it to this
    /// user.
    pub evicts: Option<String>,
}

/// Counters since the start, over all servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that were accepted.
    pub calls: u64,
    /// Round trips for these calls.
    pub batches: u64,
    /// Calls without an answer by their deadline.
    pub timeouts: u64,
    /// Calls that the server refused, or that found a key with a value of another program.
    pub refused: u64,
    /// Calls that were not sent: no connection, breaker open, or queue full.
    pub unsent: u64,
    /// Connections made after the first one was lost.
    pub reconnections: u64,
    /// Times that a breaker opened.
    pub opened: u64,
}

impl Status {
    /// Returns whether every server accepts calls.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let closed = |server: &ServerStatus| server.breaker == State::Closed;
        !self.servers.is_empty() && self.servers.iter().all(closed)
    }
}
