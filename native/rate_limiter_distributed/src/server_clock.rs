//! The time in Redis, as well as it is known here.
//!
//! Every reply says what time it was when the script ran. From there this node's monotonic clock goes on, so neither a
//! node whose clock is wrong by minutes nor one that is being set changes anything. What a reply took to come back is
//! not known, and so this clock is late by as much: it lets nothing drain too early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rate_limiter_core::{monotonic, Clock, ManualClock, Nanos};

#[derive(Debug)]
pub(crate) struct ServerClock {
    /// What goes on between one reply and the next.
    base: Clock,
    /// What to add to that, wrapping around.
    offset: AtomicU64,
    /// What this node's limiters go by.
    shown: Arc<ManualClock>,
}

impl ServerClock {
    /// Until the server is heard, this node's own time has to do. A manual clock is taken to show that.
    pub(crate) fn new(base: Clock) -> Self {
        let offset = match base {
            Clock::Manual(_) => 0,
            Clock::Monotonic => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH);
                let unix = Nanos::from(unix.unwrap_or_default());
                unix.0.wrapping_sub(monotonic().0)
            }
        };
        let clock = Self {
            base,
            offset: AtomicU64::new(offset),
            shown: Arc::default(),
        };
        clock.tick();
        clock
    }

    /// The clock for a limiter. It stands still between two ticks.
    pub(crate) fn clock(&self) -> Clock {
        Clock::Manual(Arc::clone(&self.shown))
    }

    /// Brings the limiters' clock to the present.
    pub(crate) fn tick(&self) {
        let offset = self.offset.load(Ordering::Relaxed);
        let now = self.elapsed().0.wrapping_add(offset);
        self.shown.set(Nanos(now));
    }

    /// What the limiters' clock shows.
    pub(crate) fn shown(&self) -> Nanos {
        self.shown.now()
    }

    /// It was `now` in the server, a little ago.
    pub(crate) fn heard(&self, now: Nanos) {
        let offset = now.0.wrapping_sub(self.elapsed().0);
        self.offset.store(offset, Ordering::Relaxed);
        self.shown.set(now);
    }

    /// The time that passes here, to count spans by: nothing sets it.
    pub(crate) fn elapsed(&self) -> Nanos {
        match &self.base {
            Clock::Monotonic => monotonic(),
            Clock::Manual(clock) => clock.now(),
        }
    }
}
