//! The strict sliding window: every use is kept, and counts while its sub-window or one of the `k` after it is the
//! present one.

use rate_limiter_core::{Algorithm, Limit, Nanos, Retry, Usage};

use super::{per_nanos, scaled};

#[derive(Clone, Debug)]
pub(crate) struct SlidingWindow {
    limit: u64,
    sub_windows: u64,
    width: u64,
    uses: Vec<Use>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    at: u64,
    units: u64,
}

impl SlidingWindow {
    pub(crate) fn new(limit: &Limit) -> Self {
        let Algorithm::SlidingWindow { sub_windows } = limit.algorithm() else {
            panic!("expected a sliding window, got: {limit:?}");
        };
        Self {
            limit: limit.limit(),
            sub_windows: sub_windows.into(),
            width: width(per_nanos(limit).div_ceil(sub_windows.into())),
            uses: Vec::new(),
        }
    }

    /// Each use that counts moves to the last moment at which it can have been: the end of its sub-window, or now if
    /// that is not over. (If the clock was set back before it: the end.)
    pub(crate) fn touch(&mut self, limit: &Limit, now: u64) {
        let old = std::mem::replace(self, Self::new(limit));
        if (old.width, old.sub_windows) == (self.width, self.sub_windows) {
            self.uses = old.uses;
            return;
        }
        for counted in old.counted(now).filter(|counted| counted.units > 0) {
            let first = counted.at / old.width * old.width;
            let last = first + old.width - 1;
            let at = if first > now { last } else { last.min(now) };
            self.uses.push(Use { at, ..*counted });
        }
        // Uses that the new window does not count are dropped.
        self.uses = self.counted(now).copied().collect();
        self.reach(now);
    }

    pub(crate) fn used(&self, now: u64) -> u64 {
        self.counted(now).map(|counted| counted.units).sum()
    }

    pub(crate) fn ask(&self, now: u64, cost: u64, ppm: u32) -> Usage {
        let max = scaled(self.limit, ppm).min(u32::MAX.into());
        let fits = |at: u64| self.used(at) + cost <= max;
        let retry = if cost == 0 || (cost <= max && fits(now)) {
            Retry::Now
        } else if cost > max {
            Retry::Never
        } else {
            // The first end of a use at which there is room: nothing else changes the count.
            let ends = self.counted(now).map(|counted| self.end(counted.at));
            let end = ends.filter(|&end| fits(end)).min();
            Retry::After(Nanos(end.expect("room in the end") - now))
        };
        let mut after = self.clone();
        if retry == Retry::Now {
            after.take(now, cost);
        }
        let used = after.counted(now).filter(|counted| counted.units > 0);
        let ends: Vec<u64> = used.map(|counted| after.end(counted.at)).collect();
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

    /// If the clock was set back, the sub-window that it had reached stays the present one.
    pub(crate) fn take(&mut self, now: u64, cost: u64) {
        if cost > 0 {
            let at = now.max(self.present(now) * self.width);
            self.uses.push(Use { at, units: cost });
        }
    }

    /// The oldest sub-window that counts first.
    pub(crate) fn refund(&mut self, now: u64, mut cost: u64) {
        if self.used(now) == 0 {
            return;
        }
        self.reach(now);
        self.uses = self.counted(now).copied().collect();
        for counted in &mut self.uses {
            let back = counted.units.min(cost);
            counted.units -= back;
            cost -= back;
        }
    }

    /// While something is used, the latest time is remembered, since the clock may be set back.
    fn reach(&mut self, now: u64) {
        if self.used(now) > 0 {
            let at = self.present(now) * self.width;
            self.uses.push(Use { at, units: 0 });
        }
    }

    fn present(&self, now: u64) -> u64 {
        let reached = self.uses.iter().map(|used| used.at).max();
        now.max(reached.unwrap_or(0)) / self.width
    }

    fn counted(&self, now: u64) -> impl Iterator<Item = &Use> {
        let present = self.present(now);
        let counts = move |one: &&Use| one.at / self.width + self.sub_windows >= present;
        self.uses.iter().filter(counts)
    }

    /// When a use from `at` no longer counts.
    fn end(&self, at: u64) -> u64 {
        (at / self.width + self.sub_windows + 1) * self.width
    }
}

/// The shortest width of at least so many nanoseconds that has at most 28 significant bits before its decimal zeros:
/// any number of seconds, minutes, hours or days is exact, and no width is lengthened by more than 0.000004 %.
fn width(nanos: u64) -> u64 {
    let mut unit = 1;
    while nanos.div_ceil(unit) >= 1 << 28 {
        unit *= 10;
    }
    nanos.div_ceil(unit) * unit
}
