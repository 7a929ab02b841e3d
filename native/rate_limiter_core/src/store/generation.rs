//! The configuration under which a limiter is used now.

use std::sync::Arc;

use crate::algorithm::Logs;
use crate::clock::{Clock, Nanos};
use crate::plan::{Plan, Window};
use crate::plans::Plans;
use crate::sync::{AtomicU64, Ordering};
use crate::verdict::Usage;

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
    /// Other limits by name.
    pub(crate) plans: Option<Arc<Plans>>,
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
    /// For each window, the admitted calls that it would have denied if it was enforced.
    pub(crate) would_deny: Box<[AtomicU64]>,
}

impl Generation {
    /// Returns the same windows with accounts of their own, for copies of states.
    pub(crate) fn apart(&self) -> Self {
        Self {
            plan: self.plan.clone(),
            plans: None,
            clock: self.clock.clone(),
            accounting: Arc::new(Accounting {
                budget: Budget::new(u64::MAX),
                totals: Totals::new(self.plan.windows().len()),
            }),
            ..*self
        }
    }

    /// Returns it with another distance to UTC, and without plans.
    pub(crate) fn at_offset(&self, offset_to_unix: Nanos) -> Self {
        Self {
            plan: self.plan.with_offset(offset_to_unix),
            plans: None,
            offset_to_unix,
            clock: self.clock.clone(),
            accounting: Arc::clone(&self.accounting),
            ..*self
        }
    }

    /// Returns whether nothing counts as used in any window of a slot.
    pub(crate) fn is_idle(&self, state: &[u64], logs: &Logs, now: Nanos) -> bool {
        let idle = |window: &Window| window.meter.is_idle(&state[window.range()], logs, now);
        self.plan.windows().iter().all(idle)
    }

    /// Counts a check that the window admits only because it is in shadow mode.
    #[inline]
    pub(crate) fn count_shadow(&self, window: &Window, usage: &Usage) {
        if usage.would_deny() {
            Totals::count(&self.accounting.totals.would_deny[window.index], 1);
        }
    }
}

impl Totals {
    /// Returns the totals of a limiter with so many windows.
    pub(crate) fn new(windows: usize) -> Self {
        let zeros = || (0..windows).map(|_| AtomicU64::new(0)).collect();
        Self {
            passed: zeros(),
            would_deny: zeros(),
            ..Self::default()
        }
    }

    pub(crate) fn count(counter: &AtomicU64, events: u64) {
        counter.fetch_add(events, Ordering::Relaxed);
    }
}
