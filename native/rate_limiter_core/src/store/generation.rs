//! On what terms a limiter is used at present.

use std::sync::Arc;

use crate::algorithm::Logs;
use crate::clock::{Clock, Nanos};
use crate::plan::{Plan, Window};
use crate::sync::{AtomicU64, Ordering};

use super::budget::Budget;

/// Every stripe has the same one, behind its lock: so a call needs no reference count to read it, and sees all of a
/// change or nothing of it.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) epoch: u32,
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    pub(crate) offset_to_unix: Nanos,
    pub(crate) accounting: Arc<Accounting>,
}

/// What goes on from one set of terms to the next.
#[derive(Debug)]
pub(crate) struct Accounting {
    pub(crate) budget: Budget,
    pub(crate) totals: Totals,
}

/// Counts of what happens seldom.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) overflowed: AtomicU64,
    pub(crate) swept: AtomicU64,
}

impl Generation {
    /// Whether nothing counts as used in any window of a slot's state.
    pub(crate) fn is_idle(&self, state: &[u64], logs: &Logs, now: Nanos) -> bool {
        let idle = |window: &Window| window.meter.is_idle(&state[window.range()], logs, now);
        self.plan.windows().iter().all(idle)
    }
}

impl Totals {
    pub(crate) fn count(counter: &AtomicU64, events: u64) {
        counter.fetch_add(events, Ordering::Relaxed);
    }
}
