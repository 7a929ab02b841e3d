//! The distance from the monotonic clock to UTC. It changes when the system's clock is set.

use std::time::{SystemTime, UNIX_EPOCH};

use super::nanos::Nanos;
use super::system::system;

/// A smaller change is not followed: more than both clocks part in minutes, and less than a person can set a clock by.
const TOLERANCE: u64 = 10_000_000;

/// Readings of both clocks within so short a time belong together.
const GAP: u64 = 1_000_000;

/// Readings until one is not interrupted.
const TRIES: u32 = 4;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Utc {
    /// UTC, since 1970, minus the monotonic clock.
    pub(super) ahead: Nanos,
    /// By how much it may be wrong.
    gap: u64,
}

/// Returns the nanoseconds that UTC, since 1970, is ahead of [`monotonic`](super::monotonic()).
#[must_use]
pub fn utc_ahead() -> Nanos {
    Utc::measure().ahead
}

impl Utc {
    pub(super) fn measure() -> Self {
        // Not the counter, which may be late for a moment after a suspend.
        Self::best(|| (system(), utc(), system()))
    }

    /// Returns the reading, of the monotonic clock, UTC, and the monotonic clock again, that took the shortest.
    fn best(mut read: impl FnMut() -> (Nanos, Nanos, Nanos)) -> Self {
        let mut best: Option<Self> = None;
        for _ in 0..TRIES {
            let (before, utc, after) = read();
            let (ahead, gap) = (utc.saturating_sub(before), after.saturating_sub(before).0);
            if best.is_none_or(|best| gap < best.gap) {
                best = Some(Self { ahead, gap });
            }
            if gap <= GAP {
                break;
            }
        }
        best.unwrap_or(Self {
            ahead: Nanos(0),
            gap: u64::MAX,
        })
    }

    /// Returns the distance if the clock was set since it was `known`.
    pub(super) fn moved_from(self, known: Nanos) -> Option<Nanos> {
        let moved = self.ahead.0.abs_diff(known.0);
        (moved > TOLERANCE.saturating_add(self.gap)).then_some(self.ahead)
    }
}

fn utc() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Nanos::from(since.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Measures by these readings; the last one stays.
    fn measured(readings: &[(u64, u64, u64)]) -> Utc {
        let mut readings = readings.iter().copied().peekable();
        let mut last = (0, 0, 0);
        Utc::best(|| {
            last = readings.next().unwrap_or(last);
            (Nanos(last.0), Nanos(last.1), Nanos(last.2))
        })
    }

    #[test]
    fn an_interrupted_reading_is_repeated() {
        let interrupted = (0, 1_900 * MS, 900 * MS);
        let whole = (1_000 * MS, 2_000 * MS, 1_000 * MS + 1);
        assert_eq!(measured(&[interrupted, whole]).ahead, Nanos(1_000 * MS));
        assert_eq!(measured(&[whole, interrupted]).ahead, Nanos(1_000 * MS));
    }

    #[test]
    fn only_a_clock_that_was_set_has_moved() {
        let known = Nanos(1_000 * MS);
        let at = |ahead: u64| measured(&[(0, ahead, 1)]).moved_from(known);
        assert_eq!(at(1_000 * MS), None);
        assert_eq!(at(1_009 * MS), None);
        assert_eq!(at(991 * MS), None);
        assert_eq!(at(1_011 * MS), Some(Nanos(1_011 * MS)));
        assert_eq!(at(0), Some(Nanos(0)));
        // Nothing is known while every reading is interrupted for longer than the clock may have moved.
        assert_eq!(
            measured(&[(0, 1_800 * MS, 900 * MS)]).moved_from(known),
            None
        );
    }

    #[test]
    fn the_clock_of_the_system_has_a_distance() {
        let now = system().saturating_add(utc_ahead()).0;
        assert!(now.abs_diff(utc().0) < 1_000 * MS);
        assert_eq!(Utc::measure().moved_from(utc_ahead()), None);
    }
}
