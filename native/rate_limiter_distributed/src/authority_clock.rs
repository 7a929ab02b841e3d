//! The authority's time, as precisely as this node knows it.
//!
//! Each reply holds the time at which it was made. From there this node's monotonic clock continues, so neither a wrong
//! clock of the node nor one that is being set changes anything. The time that a reply needs to travel is unknown, so
//! this clock is late by as much, and usage never drains too early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rate_limiter_core::{monotonic, utc_ahead, Clock, ManualClock, Nanos};

#[derive(Debug)]
pub(crate) struct AuthorityClock {
    /// The clock that measures the time between replies.
    base: Clock,
    /// The difference to it, wrapping around.
    offset: AtomicU64,
    /// The clock of this node's tables.
    shown: Arc<ManualClock>,
}

impl AuthorityClock {
    /// Creates a clock that shows this node's own time until the first reply. A manual clock is taken to show that.
    pub(crate) fn new(base: Clock) -> Self {
        let offset = match base {
            Clock::Manual(_) => 0,
            Clock::Monotonic => utc_ahead().0,
        };
        let clock = Self {
            base,
            offset: AtomicU64::new(offset),
            shown: Arc::default(),
        };
        clock.tick();
        clock
    }

    /// Returns the clock for a table. It stands still between two ticks.
    pub(crate) fn clock(&self) -> Clock {
        Clock::Manual(Arc::clone(&self.shown))
    }

    /// Moves the tables' clock to the present.
    pub(crate) fn tick(&self) {
        let now = self.elapsed().0.wrapping_add(self.offset());
        self.shown.set(Nanos(now));
    }

    /// Returns the time on the tables' clock.
    pub(crate) fn shown(&self) -> Nanos {
        self.shown.now()
    }

    /// Sets the clock to the authority's time in a reply.
    pub(crate) fn set(&self, now: Nanos) {
        self.offset.store(self.offset_of(now), Ordering::Relaxed);
        self.shown.set(now);
    }

    /// Returns the present difference to this node's own clock.
    pub(crate) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Returns the difference to this node's own clock, if it is `now` on that of the authority.
    pub(crate) fn offset_of(&self, now: Nanos) -> u64 {
        now.0.wrapping_sub(self.elapsed().0)
    }

    /// Returns the time on this node's own clock, which is never set.
    pub(crate) fn elapsed(&self) -> Nanos {
        match &self.base {
            Clock::Monotonic => monotonic(),
            Clock::Manual(clock) => clock.now(),
        }
    }
}
