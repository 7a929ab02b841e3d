//! How it goes: for people, statistics and health checks.

use rate_limiter_distributed::breaker::State;

/// How a client is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Each server that calls go to now; none while nobody knows where they are.
    pub servers: Vec<ServerStatus>,
    /// Why the topology is not known, or not up to date, if so.
    pub problem: Option<String>,
    /// Since the start.
    pub totals: Totals,
}

/// How one server is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// `host:port` or a path.
    pub server: String,
    /// Whether calls go there.
    pub breaker: State,
    /// Connections that are up.
    pub connections: usize,
    /// Calls that wait or are under way.
    pub pending: usize,
    /// The last that went wrong, in the server's words or the system's, while it matters: cleared by success.
    pub problem: Option<String>,
    /// The `maxmemory-policy` by which it forgets keys when its memory is full, if it does and lets us know.
    pub evicts: Option<String>,
}

/// What was done since the start, over all servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that were taken.
    pub calls: u64,
    /// Round trips they made.
    pub batches: u64,
    /// Calls without an answer by their deadline.
    pub timeouts: u64,
    /// Calls that the server refused, or for which it found a key that holds something else.
    pub refused: u64,
    /// Calls that were handed back: no connection, breaker open, or too many waiting.
    pub unsent: u64,
    /// Connections made after the first.
    pub reconnections: u64,
    /// Times that a breaker opened.
    pub opened: u64,
}

impl Status {
    /// Whether every server takes calls.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let closed = |server: &ServerStatus| server.breaker == State::Closed;
        !self.servers.is_empty() && self.servers.iter().all(closed)
    }
}
