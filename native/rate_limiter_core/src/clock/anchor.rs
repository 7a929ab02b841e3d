//! Two clocks, read at one moment, and the rate between them; shared without a lock.

use crate::sync::{fence, AtomicU64, Ordering};

/// An older anchor is not used: so neither an error of the rate nor a jump of the counter lasts longer.
#[cfg_attr(loom, allow(dead_code))]
const MAX_AGE: u64 = 50_000_000;

/// Over a shorter span the two readings do not determine the rate to 0.001 %.
#[cfg_attr(loom, allow(dead_code))]
pub(super) const MIN_BASE: u64 = 20_000_000;

/// Nanoseconds at a tick of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    nanos: u64,
    ticks: u64,
    /// Nanoseconds a tick, times 2^32.
    rate: u64,
    /// In ticks.
    max_age: u64,
}

/// The anchor of the program, which is replaced while others read it.
///
/// A sequence lock: the sequence is odd while the anchor is being written. A reader that sees a change reads the
/// operating system's clock, as it does if the anchor is too old, so no reader waits. Alone on its cache line, since
/// every check reads it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Anchored {
    sequence: AtomicU64,
    nanos: AtomicU64,
    ticks: AtomicU64,
    rate: AtomicU64,
    max_age: AtomicU64,
}

impl Anchor {
    /// Returns the anchor of a reading. `spans` are nanoseconds and ticks since an earlier one. `None` if they do not
    /// determine a rate.
    #[cfg_attr(loom, allow(dead_code))] // models read no counter
    pub(super) fn new(nanos: u64, ticks: u64, spans: (u64, u64)) -> Option<Self> {
        let (span_nanos, span_ticks) = spans;
        // A counter slower than 1 MHz or faster than 1 THz, or one that ran backwards, is not a clock.
        let plausible = span_nanos / 1_000..=span_nanos.saturating_mul(1_000);
        if span_nanos < MIN_BASE || !plausible.contains(&span_ticks) {
            return None;
        }
        let rate = (u128::from(span_nanos) << 32) / u128::from(span_ticks);
        let max_age = u128::from(MAX_AGE) * u128::from(span_ticks) / u128::from(span_nanos);
        Some(Self {
            nanos,
            ticks,
            rate: u64::try_from(rate).ok()?,
            max_age: u64::try_from(max_age).ok()?,
        })
    }
}

impl Anchored {
    /// No anchor yet: every reader reads the operating system's clock.
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            max_age: AtomicU64::new(0),
        }
    }

    /// As `new`; loom's atomics cannot be made at compile time.
    #[cfg(loom)]
    fn loom() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            max_age: AtomicU64::new(0),
        }
    }

    /// Returns the nanoseconds at `ticks`; `None` without an anchor, or if it is too old or being replaced.
    #[inline]
    pub(super) fn nanos(&self, ticks: u64) -> Option<u64> {
        // Acquire pairs with the writer's last store: with an even number, the fields before it are visible.
        let sequence = self.sequence.load(Ordering::Acquire);
        let (nanos, base) = (
            self.nanos.load(Ordering::Relaxed),
            self.ticks.load(Ordering::Relaxed),
        );
        let (rate, max_age) = (
            self.rate.load(Ordering::Relaxed),
            self.max_age.load(Ordering::Relaxed),
        );
        // Pairs with the writer's fence: if a field above was of a newer anchor, its odd number is visible below.
        fence(Ordering::Acquire);
        let stable = sequence & 1 == 0 && self.sequence.load(Ordering::Relaxed) == sequence;
        // A reading before the anchor wraps around, so it is too old as well.
        let age = ticks.wrapping_sub(base);
        if !stable || age >= max_age {
            return None;
        }
        // Less than MAX_AGE, so it fits.
        #[allow(clippy::cast_possible_truncation)]
        let passed = ((u128::from(age) * u128::from(rate)) >> 32) as u64;
        Some(nanos + passed)
    }

    /// Replaces the anchor, unless another thread is doing so.
    pub(super) fn set(&self, anchor: Anchor) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        // Acquire pairs with the last store of the writer before: the fields are written in the order of the sequence.
        let free = sequence & 1 == 0
            && self
                .sequence
                .compare_exchange(sequence, sequence + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !free {
            return;
        }
        // A reader that sees one of the following stores must see the odd number before them.
        fence(Ordering::Release);
        self.nanos.store(anchor.nanos, Ordering::Relaxed);
        self.ticks.store(anchor.ticks, Ordering::Relaxed);
        self.rate.store(anchor.rate, Ordering::Relaxed);
        self.max_age.store(anchor.max_age, Ordering::Relaxed);
        // Release: a reader that sees the even number sees all fields.
        self.sequence.store(sequence + 2, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A counter of 3 GHz that has been watched for a second.
    fn anchor() -> Anchor {
        Anchor::new(5_000, 9_000, (1_000_000_000, 3_000_000_000)).expect("a plausible rate")
    }

    #[test]
    fn tells_time_from_the_anchor_on() {
        let anchored = Anchored::new();
        assert_eq!(anchored.nanos(9_000), None);
        anchored.set(anchor());
        assert_eq!(anchored.nanos(9_000), Some(5_000));
        assert_eq!(anchored.nanos(9_000 + 3_000_003), Some(5_000 + 1_000_000));
    }

    #[test]
    fn refuses_a_counter_that_jumped() {
        let anchored = Anchored::new();
        anchored.set(anchor());
        assert_eq!(anchored.nanos(8_999), None);
        assert_eq!(anchored.nanos(9_000 + 3 * MAX_AGE), None);
        assert_eq!(anchored.nanos(u64::MAX), None);
    }

    #[test]
    fn makes_no_anchor_of_what_tells_no_rate() {
        assert_eq!(Anchor::new(0, 0, (MIN_BASE - 1, MIN_BASE)), None);
        assert_eq!(Anchor::new(0, 0, (MIN_BASE, 0)), None);
        assert_eq!(Anchor::new(0, 0, (MIN_BASE, u64::MAX)), None);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_readers_see_whole_anchors() {
        let anchor = |nanos| Anchor {
            nanos,
            ticks: nanos,
            rate: 1 << 32,
            max_age: 100,
        };
        loom::model(move || {
            let anchored = Arc::new(Anchored::loom());
            anchored.set(anchor(10));
            let writer = {
                let anchored = Arc::clone(&anchored);
                thread::spawn(move || anchored.set(anchor(20)))
            };
            // By either anchor, tick 25 is nanosecond 25; a mixture of the two would return 15 or 35.
            assert!(matches!(anchored.nanos(25), None | Some(25)));
            writer.join().unwrap();
            assert_eq!(anchored.nanos(25), Some(25));
        });
    }
}
