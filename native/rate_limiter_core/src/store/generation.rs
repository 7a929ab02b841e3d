//! The configuration under which a limiter is used now.

use std::sync::Arc;

use crate::algorithm::Logs;
use crate::clock::{Clock, Nanos};
use crate::plan::{Plan, Window};
use crate::sync::{AtomicU64, Ordering};

use super::budget::Budget;

/// Every stripe has the same one, guarded by its lock: so a call reads it without a reference count, and sees all of a
/// change or nothing.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) epoch: u32,
    /// The number before that of the first check: drawn by lot, so that numbers of another generation are not taken for
    /// those of this one.
    pub(crate) first_serial: u64,
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    pub(crate) offset_to_unix: Nanos,
    /// The longest time for which a use counts in any window.
    pub(crate) longest: Nanos,
    pub(crate) accounting: Arc<Accounting>,
}

/// What a change of limits keeps.
#[derive(Debug)]
pub(crate) struct Accounting {
    pub(crate) budget: Budget,
    pub(crate) totals: Totals,
}

/// Counts of rare events.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) overflowed: AtomicU64,
    pub(crate) swept: AtomicU64,
    /// For each window, the calls with which a key passed the threshold.
    pub(crate) passed: Box<[AtomicU64]>,
}

impl Generation {
    /// Returns whether nothing counts as used in any window of a slot.
    pub(crate) fn is_idle(&self, state: &[u64], logs: &Logs, now: Nanos) -> bool {
        let idle = |window: &Window| window.meter.is_idle(&state[window.range()], logs, now);
        self.plan.windows().iter().all(idle)
    }
}

impl Totals {
    /// Returns the totals of a limiter with so many windows.
    pub(crate) fn new(windows: usize) -> Self {
        Self {
            passed: (0..windows).map(|_| AtomicU64::new(0)).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn count(counter: &AtomicU64, events: u64) {
        counter.fetch_add(events, Ordering::Relaxed);
    }
}
