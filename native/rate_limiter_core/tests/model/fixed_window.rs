//! The fixed window: a count from its start to its end.

use rate_limiter_core::{Algorithm, Limit, Nanos, Retry, Usage};

use super::{per_nanos, scaled};

#[derive(Clone, Debug)]
pub(crate) struct FixedWindow {
    limit: u64,
    per: u64,
    aligned: bool,
    /// When the open window began, and what it has counted.
    open: Option<(u64, u64)>,
}

impl FixedWindow {
    pub(crate) fn new(limit: &Limit) -> Self {
        let Algorithm::FixedWindow { aligned } = limit.algorithm() else {
            panic!("expected a fixed window, got: {limit:?}");
        };
        Self {
            limit: limit.limit(),
            per: per_nanos(limit),
            aligned,
            open: None,
        }
    }

    /// The count of the open window counts in one of the new length: in the one that began at the same time, or if
    /// windows are aligned, in the one of now (or of the start of the open one, if the clock was set back before it).
    pub(crate) fn touch(&mut self, limit: &Limit, now: u64) {
        let old = std::mem::replace(self, Self::new(limit));
        if old.per == self.per {
            self.open = old.open;
        } else if let (Some((start, _)), used @ 1..) = (old.open, old.used(now)) {
            let start = if self.aligned {
                now.max(start) / self.per * self.per
            } else {
                start
            };
            self.open = (now < start + self.per).then_some((start, used));
        }
    }

    pub(crate) fn used(&self, now: u64) -> u64 {
        match self.open {
            Some((start, used)) if now < start + self.per => used,
            _ => 0,
        }
    }

    pub(crate) fn ask(&self, now: u64, cost: u64, ppm: u32) -> Usage {
        let max = scaled(self.limit, ppm);
        let used = self.used(now);
        let fits = u128::from(used) + u128::from(cost) <= u128::from(max);
        let until = Nanos(self.start(now) + self.per - now);
        let retry = if cost == 0 || fits {
            Retry::Now
        } else if cost > max {
            Retry::Never
        } else {
            Retry::After(until)
        };
        let after = if fits { used + cost } else { used };
        // At its end nothing is used any more.
        let ends = if after == 0 { Nanos(0) } else { until };
        Usage {
            max,
            remaining: max.saturating_sub(after),
            next_after: ends,
            reset_after: ends,
            retry,
        }
    }

    pub(crate) fn take(&mut self, now: u64, cost: u64) {
        let used = self.used(now) + cost;
        self.open = (used > 0).then_some((self.start(now), used));
    }

    /// A window whose whole count was refunded is not open any more.
    pub(crate) fn refund(&mut self, now: u64, cost: u64) {
        if self.used(now) > 0 {
            let used = self.used(now).saturating_sub(cost);
            self.open = (used > 0).then_some((self.start(now), used));
        }
    }

    pub(crate) fn restart_beyond(&mut self, now: u64, max: u64) {
        let used = self.used(now);
        if used > max {
            self.open = Some((now, used));
        }
    }

    /// The start of the window that counts now, or that a use now would open. If the clock was set back, its window
    /// stays open.
    fn start(&self, now: u64) -> u64 {
        match self.open {
            Some((start, _)) if self.used(now) > 0 => start,
            _ if self.aligned => now / self.per * self.per,
            _ => now,
        }
    }
}
