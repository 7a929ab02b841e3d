//! One limit on its limiter, and what it did to the requests.

use std::sync::Arc;

use rate_limiter_core::{
    Clock, Epoch, Key, Limit, LimitError, Limiter, ManualClock, Options, Retry, Tag,
};

use crate::timeline::{Counts, Timeline};

const ONLY: Tag = 0;

/// A limiter of the kind that serves applications, on the replay's clock, with one window.
#[derive(Debug)]
pub(crate) struct Judge {
    limit: Limit,
    limiter: Limiter,
    epoch: Epoch,
    totals: Counts,
    hours: [Counts; 24],
    timeline: Option<Timeline>,
    denials: Vec<Denials>,
}

/// What one id was denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denials {
    pub(crate) count: u64,
    /// The longest that it was told to wait, in nanoseconds; [`NEVER`](Self::NEVER) if a cost was above the maximum.
    pub(crate) longest_wait: u64,
}

impl Denials {
    pub(crate) const NEVER: u64 = u64::MAX;
}

/// One request that is due: the clock shows its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) key: Key,
    pub(crate) id: u32,
    pub(crate) cost: u64,
    /// The hour of the day, 0 to 23.
    pub(crate) hour: u8,
    pub(crate) now: u64,
    /// The zone by which the log's days begin.
    pub(crate) zone_minutes: i16,
}

impl Judge {
    pub(crate) fn new(limit: Limit, clock: &Arc<ManualClock>) -> Result<Self, LimitError> {
        let options = Options {
            clock: Clock::Manual(Arc::clone(clock)),
            // The log is finite, and a key turned away for want of room would say nothing of the limit.
            max_keys: u64::MAX,
        };
        let (limiter, epoch) = Limiter::new(&[(ONLY, limit.clone())], options)?;
        Ok(Self {
            limit,
            limiter,
            epoch,
            totals: Counts::default(),
            hours: [Counts::default(); 24],
            timeline: None,
            denials: Vec::new(),
        })
    }

    pub(crate) fn judge(&mut self, request: &Request) {
        let &Request { key, id, cost, .. } = request;
        let usage = self
            .limiter
            .check(self.epoch, key, ONLY, cost)
            .expect("the limiter is this judge's own and stays open");
        let allowed = usage.allowed();
        if !allowed {
            self.deny(id, usage.retry);
        }
        self.totals.add(allowed);
        self.hours[usize::from(request.hour)].add(allowed);
        self.timeline
            .get_or_insert_with(|| Timeline::new(request.zone_minutes))
            .add(request.now, allowed);
    }

    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) fn totals(&self) -> Counts {
        self.totals
    }

    pub(crate) fn hours(&self) -> &[Counts; 24] {
        &self.hours
    }

    pub(crate) fn timeline(&self) -> Option<&Timeline> {
        self.timeline.as_ref()
    }

    /// Of each id that was denied at all, by its number; the row ends with the last of them.
    pub(crate) fn denials(&self) -> &[Denials] {
        &self.denials
    }

    fn deny(&mut self, id: u32, retry: Retry) {
        let wait = match retry {
            Retry::Now => 0,
            Retry::After(wait) => wait.0,
            Retry::Never => Denials::NEVER,
        };
        let id = id as usize;
        if id >= self.denials.len() {
            self.denials.resize(id + 1, Denials::default());
        }
        let denials = &mut self.denials[id];
        denials.count += 1;
        denials.longest_wait = denials.longest_wait.max(wait);
    }
}
