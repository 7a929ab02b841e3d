//! Time: whole nanoseconds, and two clocks.

mod anchor;
mod monotonic;
mod nanos;
#[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
mod readings;
mod system;
mod utc;

use std::sync::Arc;

use crate::sync::{AtomicU64, Ordering};

pub use monotonic::monotonic;
pub use nanos::Nanos;
pub use utc::utc_ahead;

use utc::Utc;

/// The clock of a limiter.
///
/// ```
/// use rate_limiter_core::{Clock, ManualClock, Nanos};
/// use std::sync::Arc;
///
/// let manual = Arc::new(ManualClock::new(Nanos(5)));
/// let clock = Clock::Manual(Arc::clone(&manual)); // for `Options`
/// assert_eq!(manual.advance(Nanos(2)), Nanos(7)); // every limiter with this clock sees it
/// # drop(clock);
/// ```
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's monotonic clock, counted from the first use in this program. It counts a suspend of the machine on
    /// Linux, macOS and Windows.
    #[default]
    Monotonic,
    /// A clock that stands still until it is moved: for tests and replays.
    Manual(Arc<ManualClock>),
}

impl Clock {
    /// Returns the time. `monotonic` is a reading of [`monotonic`] that the caller already has.
    #[inline]
    pub(crate) fn read(&self, monotonic: Nanos) -> Nanos {
        match self {
            Self::Monotonic => monotonic,
            Self::Manual(clock) => clock.now(),
        }
    }

    /// Returns what to add to this clock's time to get nanoseconds since 1970 in UTC. A manual clock shows these.
    pub(crate) fn offset_to_unix(&self) -> Nanos {
        match self {
            Self::Monotonic => Utc::measure().ahead,
            Self::Manual(_) => Nanos(0),
        }
    }

    /// Returns the present distance, if it differs from `known` by more than the measurement does.
    pub(crate) fn moved_offset(&self, known: Nanos) -> Option<Nanos> {
        match self {
            Self::Monotonic => Utc::measure().moved_from(known),
            Self::Manual(_) => None,
        }
    }
}

/// A clock that is moved by hand. Every limiter that shares it sees each move at once.
///
/// It stops at [`END`](Self::END), so that times that a limiter computes ahead of it do not overflow.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// The latest time that it shows: 292 years.
    pub const END: Nanos = Nanos(u64::MAX >> 1);

    /// Returns a clock that shows `now`.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self(AtomicU64::new(now.min(Self::END).0))
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        // Pairs with the writers' Release: a thread that sees a move also sees what the mover did before it.
        Nanos(self.0.load(Ordering::Acquire))
    }

    /// Sets the time. Backwards is allowed: no limiter admits more because of it.
    pub fn set(&self, now: Nanos) {
        // Release: see `now`.
        self.0.store(now.min(Self::END).0, Ordering::Release);
    }

    /// Adds `span`, and returns the new time.
    pub fn advance(&self, span: Nanos) -> Nanos {
        let mut now = self.now();
        loop {
            let next = now.saturating_add(span).min(Self::END);
            // Release and Acquire: see `now`. No step of two movers is lost.
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
