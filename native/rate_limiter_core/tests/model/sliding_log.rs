//! The sliding log: a list of the admitted amounts and their moments.

use rate_limiter_core::{Limit, Nanos, Retry, Usage};

use super::{per_nanos, scaled};

#[derive(Clone, Debug)]
pub(crate) struct SlidingLog {
    limit: u64,
    per: u64,
    /// Moments and amounts.
    uses: Vec<(u64, u64)>,
}

impl SlidingLog {
    pub(crate) fn new(limit: &Limit) -> Self {
        Self {
            limit: limit.limit(),
            per: per_nanos(limit),
            uses: Vec::new(),
        }
    }

    /// A use that had left the old window does not return in a longer one.
    pub(crate) fn touch(&mut self, limit: &Limit, now: u64) {
        let mut old = std::mem::replace(self, Self::new(limit));
        if old.per != self.per {
            old.forget(now);
        }
        self.uses = old.uses;
    }

    pub(crate) fn used(&self, now: u64) -> u64 {
        let counted = self.uses.iter().filter(|(at, _)| at + self.per > now);
        counted.map(|(_, units)| units).sum()
    }

    pub(crate) fn ask(&self, now: u64, cost: u64, ppm: u32) -> Usage {
        let max = scaled(self.limit, ppm);
        let fits = |at: u64| self.used(at) + cost <= max;
        let retry = if cost == 0 || (cost <= max && fits(now)) {
            Retry::Now
        } else if cost > max {
            Retry::Never
        } else {
            let ends = self.uses.iter().map(|(at, _)| at + self.per);
            let end = ends.filter(|&end| end > now && fits(end)).min();
            Retry::After(Nanos(end.expect("room in the end") - now))
        };
        let mut after = self.clone();
        if retry == Retry::Now {
            after.take(now, cost);
        }
        let ends = after.uses.iter().map(|(at, _)| at + self.per);
        let ends: Vec<u64> = ends.filter(|&end| end > now).collect();
        let left = |at: u64| max.saturating_sub(after.used(at));
        let nexts = ends.iter().filter(|&&end| left(end) > left(now));
        Usage {
            max,
            remaining: left(now),
            next_after: Nanos(nexts.min().map_or(0, |end| end - now)),
            reset_after: Nanos(ends.iter().max().map_or(0, |end| end - now)),
            retry,
        }
    }

    /// Never before an earlier use, even if the clock was set back.
    pub(crate) fn take(&mut self, now: u64, cost: u64) {
        if cost > 0 {
            self.forget(now);
            let at = self.uses.last().map_or(now, |&(last, _)| last.max(now));
            self.uses.push((at, cost));
        }
    }

    /// The oldest first.
    pub(crate) fn refund(&mut self, now: u64, mut cost: u64) {
        self.forget(now);
        for (_, units) in &mut self.uses {
            let back = cost.min(*units);
            *units -= back;
            cost -= back;
        }
        self.uses.retain(|&(_, units)| units > 0);
    }

    fn forget(&mut self, now: u64) {
        self.uses.retain(|(at, _)| at + self.per > now);
    }
}
