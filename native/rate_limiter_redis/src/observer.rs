//! Events of connections and servers.

use std::time::Duration;

use rate_limiter_distributed::breaker::State;

/// Receives events. Called on the I/O thread: must return quickly, and must not block.
///
/// No event contains a credential or an id.
pub trait Observer: Send + Sync {
    /// The breaker of a server changed.
    fn breaker(&self, _event: &BreakerEvent<'_>) {}

    /// A connection came up, went down or could not be made.
    fn connection(&self, _event: &ConnectionEvent<'_>) {}

    /// A server evicts keys when its memory is full. Called once for each policy that is found.
    fn eviction(&self, _event: &EvictionEvent<'_>) {}

    /// A node's heartbeats are refused, for the given reason, or accepted again (`None`). Called once for each change.
    fn heartbeat(&self, _problem: Option<&str>) {}

    /// All calls of a batch were answered or failed.
    fn batch(&self, _event: &BatchEvent<'_>) {}
}

/// An observer that ignores all events.
impl Observer for () {}

/// A change of a server's breaker.
#[derive(Clone, Copy, Debug)]
pub struct BreakerEvent<'a> {
    /// The server, as `host:port` or a path.
    pub server: &'a str,
    /// The previous state.
    pub from: State,
    /// The new state.
    pub to: State,
    /// The reason, for operators.
    pub reason: &'a str,
}

/// A change of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEvent<'a> {
    /// The server, as `host:port` or a path. If no server is known: all Sentinels, or all configured nodes of the cluster.
    pub server: &'a str,
    /// The change.
    pub change: Change<'a>,
}

/// A change of a connection, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Connected, authenticated, and the script has run.
    Up,
    /// A connection that was up is lost.
    Down(&'a str),
    /// An attempt to connect failed, or one to find the servers.
    Failed(&'a str),
    /// The server refused the credentials. They should be replaced.
    Refused(&'a str),
}

/// A server that evicts keys when its memory is full. The usage of an evicted id is forgotten, as after a reset.
#[derive(Clone, Copy, Debug)]
pub struct EvictionEvent<'a> {
    /// The server, as `host:port` or a path.
    pub server: &'a str,
    /// Its `maxmemory-policy`, which should be `noeviction`.
    pub policy: &'a str,
    /// Its `maxmemory`, in bytes.
    pub maxmemory: u64,
}

/// The end of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchEvent<'a> {
    /// The server, as `host:port` or a path.
    pub server: &'a str,
    /// The number of calls.
    pub calls: usize,
    /// The time from sending to the last answer.
    pub duration: Duration,
    /// The code of the first failure: `timeout`, `closed`, `reply` for an unreadable reply, `WRONGTYPE` for a key with
    /// a value of another program, or the server's, such as `OOM`. `None` if all calls ran.
    pub failure: Option<&'a str>,
}
