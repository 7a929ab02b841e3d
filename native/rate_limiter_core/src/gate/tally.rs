//! Counts finished work: outcomes, and a histogram of the durations of what succeeded.

use crate::clock::Nanos;
use crate::sync::{AtomicU64, Ordering};

use super::Outcome;

/// Each doubling of microseconds has two to this power buckets: a bucket is 3 % wide.
const STEP_BITS: u32 = 5;
const STEPS: u64 = 1 << STEP_BITS;
/// Longer durations count as 2^36 microseconds, 19 hours. (Few for loom, which visits every bucket in every order.)
const DOUBLINGS: u32 = if cfg!(loom) { STEP_BITS } else { 36 };
const LONGEST: u64 = (1 << DOUBLINGS) - 1;
const BUCKETS: usize = (1 << STEP_BITS) * (DOUBLINGS - STEP_BITS + 1) as usize;

/// Finished work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that took too long.
    pub timeouts: u64,
    /// Calls that the resource rejected.
    pub rejected: u64,
    /// The sum of the durations of calls that took too long, in microseconds.
    pub waited_us: u64,
    /// The sum of the durations of calls that succeeded, in microseconds.
    pub sum_us: u64,
    /// The histogram of these durations: each bucket that is not empty, with its count.
    pub buckets: Vec<(usize, u64)>,
}

/// Work being counted.
#[derive(Debug)]
pub(super) struct Tally {
    ok: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    rejected: AtomicU64,
    waited_us: AtomicU64,
    sum_us: AtomicU64,
    buckets: Box<[AtomicU64]>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            ok: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Tally {
    pub(super) fn record(&self, outcome: Outcome, duration: Nanos) {
        let us = (duration.0 / 1_000).min(LONGEST);
        match outcome {
            Outcome::Ok => {
                add(&self.buckets[bucket(us)], 1);
                add(&self.sum_us, us);
                add(&self.ok, 1);
            }
            Outcome::Error => add(&self.errors, 1),
            Outcome::Timeout => {
                add(&self.waited_us, us);
                add(&self.timeouts, 1);
            }
            Outcome::Rejected => add(&self.rejected, 1),
            Outcome::NoOpinion => (),
        }
    }

    /// Takes all counts out. What is counted meanwhile is in this or in the next result, never in both or in none.
    pub(super) fn drain(&self) -> Work {
        Work {
            ok: take(&self.ok),
            errors: take(&self.errors),
            timeouts: take(&self.timeouts),
            rejected: take(&self.rejected),
            waited_us: take(&self.waited_us),
            sum_us: take(&self.sum_us),
            buckets: (0..BUCKETS)
                .filter_map(|at| match take(&self.buckets[at]) {
                    0 => None,
                    count => Some((at, count)),
                })
                .collect(),
        }
    }

    pub(super) fn drain_into(&self, other: &Self) {
        let work = self.drain();
        add(&other.ok, work.ok);
        add(&other.errors, work.errors);
        add(&other.timeouts, work.timeouts);
        add(&other.rejected, work.rejected);
        add(&other.waited_us, work.waited_us);
        add(&other.sum_us, work.sum_us);
        for (at, count) in work.buckets {
            add(&other.buckets[at], count);
        }
    }
}

/// Returns the bucket of a duration in microseconds. Up to 63, every microsecond has its own.
#[allow(clippy::cast_possible_truncation)] // below BUCKETS
fn bucket(us: u64) -> usize {
    if us < STEPS * 2 {
        return us as usize;
    }
    let shift = us.ilog2() - STEP_BITS;
    (u64::from(shift) * STEPS + (us >> shift)) as usize
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Most buckets are empty: the load avoids a write to each.
fn take(counter: &AtomicU64) -> u64 {
    if counter.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    counter.swap(0, Ordering::Relaxed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_a_thirtysecond_of_its_duration_wide() {
        let mut last = 0;
        for us in (0..5_000).chain((13..36).flat_map(|n| [(1 << n) - 1, 1 << n, (1 << n) + 1])) {
            let at = bucket(us);
            assert!(at == last || at == last + 1 || us > 5_000, "{us}");
            assert!(bucket(us + us / 16 + 1) > at, "{us}");
            last = at;
        }
        assert_eq!(bucket(LONGEST), BUCKETS - 1);
    }

    #[test]
    fn only_what_succeeded_is_a_sample() {
        let tally = Tally::default();
        for outcome in [
            Outcome::Error,
            Outcome::Timeout,
            Outcome::Rejected,
            Outcome::NoOpinion,
        ] {
            tally.record(outcome, Nanos(5_000));
        }
        tally.record(Outcome::Ok, Nanos(2_999));
        tally.record(Outcome::Ok, Nanos(u64::MAX));
        let work = tally.drain();
        assert_eq!((work.ok, work.errors), (2, 1));
        assert_eq!((work.timeouts, work.rejected), (1, 1));
        assert_eq!(work.waited_us, 5);
        assert_eq!(work.buckets, [(2, 1), (BUCKETS - 1, 1)]);
        assert_eq!(work.sum_us, 2 + LONGEST);
        assert_eq!(tally.drain(), Work::default());
    }
}
