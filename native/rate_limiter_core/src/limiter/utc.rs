//! Aligned windows begin with the hour and the day in UTC, also after the system's clock was set.

use crate::call::Epoch;
use crate::clock::{monotonic, Nanos};
use crate::error::CallError;

use super::{Control, Limiter};

impl Limiter {
    /// Measures the distance to UTC, and takes it up if it has changed.
    pub(super) fn follow_utc(&self, control: &mut Control, epoch: Epoch) -> Result<(), CallError> {
        let generation = control.generation(epoch)?;
        if let Some(offset) = generation.clock.moved_offset(generation.offset_to_unix) {
            self.set_offset(control, epoch, offset)?;
        }
        Ok(())
    }

    /// Converts all states to another distance to UTC, one stripe after the other. A call that is decided meanwhile is
    /// decided by either.
    fn set_offset(
        &self,
        control: &mut Control,
        epoch: Epoch,
        offset_to_unix: Nanos,
    ) -> Result<(), CallError> {
        let old = control.generation(epoch)?;
        let generation = old.at_offset(offset_to_unix).with_plans_of(old);
        let now = monotonic();
        self.table.each(|stripe| stripe.follow(&generation, now));
        control.generation = Some(generation);
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::key::{Key, Seed};
    use crate::limit::Limit;
    use crate::limiter::Options;
    use crate::verdict::Retry;

    const HOUR: u64 = 3_600_000_000_000;
    const DAY: u64 = 24 * HOUR;
    /// A midnight in UTC.
    const MIDNIGHT: u64 = 20_000 * DAY;

    const DAILY: u64 = 1;
    const FROM_FIRST_USE: u64 = 2;
    const BUCKET: u64 = 3;

    /// A limiter of three daily windows, at a time of day in UTC. Its own clock stands at some time since the boot.
    struct Day {
        limiter: Limiter,
        epoch: Epoch,
        clock: Arc<ManualClock>,
        key: Key,
    }

    impl Day {
        fn at(time: u64) -> Self {
            let clock = Arc::new(ManualClock::new(Nanos(HOUR)));
            let day = Duration::from_nanos(DAY);
            let limits = [
                (DAILY, Limit::fixed_window(5, day)),
                (FROM_FIRST_USE, Limit::fixed_window(5, day).from_first_use()),
                (BUCKET, Limit::token_bucket(5, day)),
            ];
            let options = Options {
                clock: Clock::Manual(Arc::clone(&clock)),
                ..Options::default()
            };
            let (limiter, epoch) = Limiter::new(&limits, options).expect("valid limits");
            let key = Seed::random().key(b"user 7");
            let day = Self {
                limiter,
                epoch,
                clock,
                key,
            };
            day.set_utc(time);
            day
        }

        /// As a sweep does after UTC was set.
        fn set_utc(&self, time: u64) {
            let offset = Nanos((MIDNIGHT + time) - self.clock.now().0);
            let mut control = self.limiter.control.lock();
            let set = self.limiter.set_offset(&mut control, self.epoch, offset);
            set.expect("an open limiter");
        }

        fn take(&self, tag: u64, cost: u64) -> bool {
            let usage = self.limiter.check(self.epoch, self.key, tag, cost);
            usage.expect("an open limiter").allowed()
        }

        /// Returns what is left, and when the whole limit fits.
        fn left(&self, tag: u64) -> (u64, Nanos) {
            let usage = self.limiter.peek(self.epoch, self.key, tag, 5);
            let usage = usage.expect("an open limiter");
            match usage.retry {
                Retry::After(wait) => (usage.remaining, wait),
                _ => (usage.remaining, Nanos(0)),
            }
        }
    }

    #[test]
    fn a_sweep_measures_the_distance_again() {
        let limits = [(DAILY, Limit::fixed_window(5, Duration::from_nanos(DAY)))];
        let (limiter, epoch) = Limiter::new(&limits, Options::default()).expect("a valid limit");
        let offset = || {
            let control = limiter.control.lock();
            let generation = control.generation(epoch).expect("an open limiter");
            generation.offset_to_unix.0
        };
        let right = offset();
        let wrong = Nanos(right - 6 * HOUR);
        let set = limiter.set_offset(&mut limiter.control.lock(), epoch, wrong);
        set.expect("an open limiter");
        assert_eq!(offset(), wrong.0);
        limiter.sweep(epoch, 1).expect("an open limiter");
        // Less than a clock that a test machine adjusts meanwhile.
        assert!(offset().abs_diff(right) < HOUR / 3_600);
    }

    #[test]
    fn a_day_ends_at_midnight_after_the_clock_was_set() {
        for (from, to) in [(20, 22), (20, 1), (1, 20), (1, 23), (12, 12)] {
            let day = Day::at(from * HOUR);
            assert!(day.take(DAILY, 3));
            day.set_utc(to * HOUR);
            assert_eq!(
                day.left(DAILY),
                (2, Nanos((24 - to) * HOUR)),
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn a_new_day_begins_when_the_clock_is_set_beyond_midnight() {
        let day = Day::at(20 * HOUR);
        assert!(day.take(DAILY, 5));
        day.set_utc(26 * HOUR);
        assert!(day.take(DAILY, 4));
        assert_eq!(day.left(DAILY), (1, Nanos(22 * HOUR)));
    }

    #[test]
    fn a_day_in_a_wrong_future_does_not_last_until_then() {
        let day = Day::at(20 * HOUR);
        day.set_utc(4_000 * DAY + 3 * HOUR);
        assert!(day.take(DAILY, 5));
        day.set_utc(20 * HOUR);
        // What was used is not given back, and ends with the present day.
        assert_eq!(day.left(DAILY), (0, Nanos(4 * HOUR)));
    }

    #[test]
    fn keys_that_are_judged_together_follow_as_well() {
        let clock = Arc::new(ManualClock::new(Nanos(HOUR)));
        let limits = [(DAILY, Limit::fixed_window(5, Duration::from_nanos(DAY)))];
        let options = Options {
            clock: Clock::Manual(Arc::clone(&clock)),
            max_keys: 1,
        };
        let (limiter, epoch) = Limiter::new(&limits, options).expect("a valid limit");
        let seed = Seed::random();
        let take = |id: &[u8]| {
            limiter
                .check(epoch, seed.key(id), DAILY, 5)
                .expect("open")
                .allowed()
        };
        assert!((0..100_u8).filter(|id| take(&[*id])).count() > 1);
        assert!(!take(&[99]));
        let set_utc = |time| {
            let mut control = limiter.control.lock();
            limiter
                .set_offset(&mut control, epoch, Nanos(time - HOUR))
                .expect("open");
        };
        set_utc(MIDNIGHT);
        assert!(take(&[99]));
        set_utc(MIDNIGHT - 1);
        assert!(!take(&[99]));
    }

    proptest! {
        #[test]
        fn only_aligned_windows_depend_on_utc(
            moves in proptest::collection::vec((0..3 * DAY, 0..DAY / 4, 0_u64..3), 1..20),
        ) {
            let (moved, still) = (Day::at(0), Day::at(0));
            for (utc, passed, cost) in moves {
                moved.set_utc(utc);
                for day in [&moved, &still] {
                    day.clock.advance(Nanos(passed));
                }
                for tag in [FROM_FIRST_USE, BUCKET] {
                    prop_assert_eq!(moved.take(tag, cost), still.take(tag, cost));
                    prop_assert_eq!(moved.left(tag), still.left(tag));
                }
            }
        }

        #[test]
        fn a_move_within_the_day_gives_nothing_back_and_ends_at_midnight(
            moves in proptest::collection::vec((0..DAY, 1_u64..3), 1..20),
        ) {
            let day = Day::at(0);
            let mut used = 0;
            for (utc, cost) in moves {
                day.set_utc(utc);
                if day.take(DAILY, cost) {
                    used += cost;
                }
                prop_assert_eq!(day.left(DAILY), (5 - used, Nanos(DAY - utc)));
            }
        }
    }
}
