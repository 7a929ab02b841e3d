//! One limit with its limiter, and what it did to the requests.

use std::sync::Arc;

use rate_limiter_core::{
    Clock, Epoch, Key, Limit, LimitError, Limiter, ManualClock, Options, Retry, Tag,
};

use crate::kinds;
use crate::order;
use crate::timeline::{Decisions, Timeline};

const ONLY: Tag = 0;

/// The limiter of production, with one window, on the clock of the replay.
#[derive(Debug)]
pub(crate) struct Judge {
    limit: Limit,
    limiter: Limiter,
    epoch: Epoch,
    totals: Decisions,
    hours: [Decisions; 24],
    timeline: Option<Timeline>,
    denials: Vec<Denials>,
    /// Denied requests, by the number of their kind.
    denied_kinds: Vec<u64>,
}

/// The denials of one id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denials {
    pub(crate) count: u64,
    /// The longest wait that a denial returned, in nanoseconds; [`NEVER`](Self::NEVER) if a cost was above the maximum.
    pub(crate) longest_wait: u64,
}

impl Denials {
    pub(crate) const NEVER: u64 = u64::MAX;
}

/// A request whose time the clock shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) key: Key,
    pub(crate) logged: order::Request,
    pub(crate) now: u64,
    /// The zone in which the days of the log begin.
    pub(crate) zone_minutes: i16,
}

impl Judge {
    pub(crate) fn new(limit: Limit, clock: &Arc<ManualClock>) -> Result<Self, LimitError> {
        let options = Options {
            clock: Clock::Manual(Arc::clone(clock)),
            // A log is finite, and a denial for lack of room would not be one of the limit.
            max_keys: u64::MAX,
        };
        let (limiter, epoch) = Limiter::new(&[(ONLY, limit.clone())], options)?;
        Ok(Self {
            limit,
            limiter,
            epoch,
            totals: Decisions::default(),
            hours: [Decisions::default(); 24],
            timeline: None,
            denials: Vec::new(),
            denied_kinds: Vec::new(),
        })
    }

    pub(crate) fn judge(&mut self, request: &Request) {
        let order::Request {
            id,
            cost,
            kind,
            hour,
        } = request.logged;
        let usage = self
            .limiter
            .check(self.epoch, request.key, ONLY, cost)
            .expect("only this judge opens its limiter");
        let allowed = usage.allowed();
        if !allowed {
            self.deny(id, usage.retry);
            kinds::add(&mut self.denied_kinds, kind);
        }
        self.totals.add(allowed);
        self.hours[usize::from(hour)].add(allowed);
        self.timeline
            .get_or_insert_with(|| Timeline::new(request.zone_minutes))
            .add(request.now, allowed);
    }

    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) fn totals(&self) -> Decisions {
        self.totals
    }

    pub(crate) fn hours(&self) -> &[Decisions; 24] {
        &self.hours
    }

    pub(crate) fn timeline(&self) -> Option<&Timeline> {
        self.timeline.as_ref()
    }

    /// Returns the denials of each id, by its number, up to the last id that was denied.
    pub(crate) fn denials(&self) -> &[Denials] {
        &self.denials
    }

    /// Returns the denied requests of each kind, by its number, up to the last kind that was denied.
    pub(crate) fn denied_kinds(&self) -> &[u64] {
        &self.denied_kinds
    }

    fn deny(&mut self, id: u32, retry: Retry) {
        let wait = match retry {
            Retry::Now | Retry::Unenforced(_) => 0,
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
