//! Time: whole nanoseconds, and the two clocks that tell it.

mod anchor;
mod monotonic;
mod nanos;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sync::{AtomicU64, Ordering};

pub use monotonic::monotonic;
pub use nanos::Nanos;

/// Where a limiter gets its time from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's monotonic clock, counted from the first use in this program.
    #[default]
    Monotonic,
    /// A clock that stands still until somebody moves it: for tests and for replaying what happened.
    Manual(Arc<ManualClock>),
}

impl Clock {
    /// The time now. `monotonic` is a reading of [`monotonic`] that the caller already has.
    #[inline]
    pub(crate) fn read(&self, monotonic: Nanos) -> Nanos {
        match self {
            Self::Monotonic => monotonic,
            Self::Manual(clock) => clock.now(),
        }
    }

    /// What to add to this clock's time to get nanoseconds since 1970 in UTC. A manual clock is taken to show those.
    pub(crate) fn offset_to_unix(&self) -> Nanos {
        match self {
            Self::Monotonic => {
                let unix = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Nanos::from(unix).saturating_sub(monotonic())
            }
            Self::Manual(_) => Nanos(0),
        }
    }
}

/// A clock that is moved by hand. Shared: every limiter that has it sees each move at once.
///
/// It stands still from [`END`](Self::END) on, so that what limiters reckon ahead of it can be told, too.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// The latest time that it shows: 292 years.
    pub const END: Nanos = Nanos(u64::MAX >> 1);

    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self(AtomicU64::new(now.min(Self::END).0))
    }

    /// The time shown.
    #[must_use]
    pub fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Acquire))
    }

    /// Shows `now` from here on. Backwards is allowed: limiters mint nothing from it.
    pub fn set(&self, now: Nanos) {
        self.0.store(now.min(Self::END).0, Ordering::Release);
    }

    /// Moves on by `span` and returns the new time.
    pub fn advance(&self, span: Nanos) -> Nanos {
        let mut now = self.now();
        loop {
            let next = now.saturating_add(span).min(Self::END);
            match self
                .0
                .compare_exchange(now.0, next.0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return next,
                Err(seen) => now = Nanos(seen),
            }
        }
    }
}

#[cfg(all(loom, test))]
mod loom_tests {
    use super::*;
    use loom::thread;

    #[test]
    fn loom_no_step_of_a_clock_is_lost() {
        loom::model(|| {
            let clock = loom::sync::Arc::new(ManualClock::new(Nanos(10)));
            let other = {
                let clock = loom::sync::Arc::clone(&clock);
                thread::spawn(move || clock.advance(Nanos(1)))
            };
            let here = clock.advance(Nanos(2));
            let there = other.join().unwrap();
            assert!(
                (here, there) == (Nanos(12), Nanos(13)) || (here, there) == (Nanos(13), Nanos(11))
            );
            assert_eq!(clock.now(), Nanos(13));
        });
    }
}
