//! Counts and sizes of a shared limiter.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the limiter was created, and its present sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStats {
    /// Requests to take.
    pub checks: u64,
    /// Those that were denied, by the authority or this node.
    pub denials: u64,
    /// Those that were denied from memory.
    pub cached_denials: u64,
    /// Requests that this node decided alone.
    pub fallbacks: u64,
    /// Requests without an answer.
    pub unavailable: u64,
    /// Calls in flight.
    pub pending: u64,
    /// Keys whose last known state is remembered.
    pub remembered: u64,
    /// Slots that a sweep inspects until it has visited all of them.
    pub slots: u64,
    /// Keys with usage that is still to be reported to the authority.
    pub backlog: u64,
    /// Bytes in use.
    pub bytes: u64,
    /// Whether a server of the authority is away, so that this node decides some or all calls alone.
    pub away: bool,
}

/// The counts, as they grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) checks: Counter,
    pub(crate) denials: Counter,
    pub(crate) cached_denials: Counter,
    pub(crate) fallbacks: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) pending: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
