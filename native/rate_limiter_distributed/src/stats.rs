//! What a limiter has done, and what it takes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the limiter was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStats {
    /// Calls that asked to take.
    pub checks: u64,
    /// Those that were denied, by whomever.
    pub denials: u64,
    /// Denials from memory.
    pub cached_denials: u64,
    /// Calls that this node answered alone.
    pub fallbacks: u64,
    /// Calls that nobody answered.
    pub unavailable: u64,
    /// Calls that were sent and have no answer yet.
    pub pending: u64,
    /// Keys whose last answer is remembered.
    pub remembered: u64,
    /// Keys of which Redis is yet to be told what this node let through.
    pub owing: u64,
    /// Bytes that all this takes.
    pub bytes: u64,
    /// Whether the last call that ended was answered by this node alone.
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
