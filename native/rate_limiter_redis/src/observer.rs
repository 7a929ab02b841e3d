//! Being told what happens between here and the servers.

use std::time::Duration;

use rate_limiter_distributed::breaker::State;

/// Is told what happens. Called on the thread that does all input and output: it must not block, and be quick.
///
/// No event holds a credential or an id.
pub trait Observer: Send + Sync {
    /// The breaker of one server changed.
    fn breaker(&self, event: &BreakerEvent<'_>) {
        let _ = event;
    }

    /// A connection came, went or could not be made.
    fn connection(&self, event: &ConnectionEvent<'_>) {
        let _ = event;
    }

    /// A server was found to forget keys when its memory is full. Told once, until it is another policy.
    fn eviction(&self, event: &EvictionEvent<'_>) {
        let _ = event;
    }

    /// Calls that travelled together were answered, or will not be.
    fn batch(&self, event: &BatchEvent<'_>) {
        let _ = event;
    }
}

/// One that listens to nothing.
impl Observer for () {}

/// A change of one server's breaker.
#[derive(Clone, Copy, Debug)]
pub struct BreakerEvent<'a> {
    /// The server, as `host:port` or a path.
    pub server: &'a str,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why, in words; for `Closed`, that it was tried and works.
    pub reason: &'a str,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEvent<'a> {
    /// The server, as `host:port` or a path.
    pub server: &'a str,
    /// What.
    pub change: Change<'a>,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// It is there, greeted and with the script loaded.
    Up,
    /// It was there, and is not any more: why.
    Down(&'a str),
    /// It could not be made: why.
    Failed(&'a str),
    /// The server does not take the credentials: its words. Whoever gives them out should give new ones.
    Refused(&'a str),
}

/// A server that forgets keys when its memory is full: whoever they are about begins anew, as if after a reset.
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
    /// How many calls travelled together.
    pub calls: usize,
    /// From sending until the last of them was answered.
    pub duration: Duration,
    /// `None` where all ran; else the code of the first failure: `timeout`, `closed`, or the server's, as `OOM`; `WRONGTYPE`,
    /// too, where a key of a call holds something else.
    pub failure: Option<&'a str>,
}
