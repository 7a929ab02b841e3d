//! A local limiter that stays open for as long as it exists, so that its calls cannot fail.

use rate_limiter_core::{
    Answer, CallError, Change, Epoch, Import, Key, Known, Limit, LimitError, Limiter, Made, Once,
    Options, Planned, Preview, Scale, Select, Stats, Tag, Under, UpdateError, Usage,
};

use crate::authority_clock::AuthorityClock;

/// A function of a local limiter that decides over several windows.
pub(crate) type Decide = fn(&Planned, Key, Select, u64) -> Result<Answer, CallError>;

/// Takes the cost from every window, or from none.
pub(crate) const TAKE: Decide = |planned, key, select, cost| planned.check_all(key, select, cost);

/// Answers as [`TAKE`] would, and takes nothing.
pub(crate) const PEEK: Decide = |planned, key, select, cost| planned.peek_all(key, select, cost);

/// A bounded table of states. No call fails: the limiter is open, and it has all windows of the plan.
#[derive(Debug)]
pub(crate) struct Table {
    limiter: Limiter,
    epoch: Epoch,
}

impl Table {
    pub(crate) fn new(
        limits: &[(Tag, Limit)],
        clock: &AuthorityClock,
        max_keys: u64,
    ) -> Result<Self, LimitError> {
        let options = Options {
            clock: clock.clock(),
            max_keys,
        };
        let (limiter, epoch) = Limiter::new(limits, options)?;
        Ok(Self { limiter, epoch })
    }

    pub(crate) fn decide(
        &self,
        under: Under,
        key: Key,
        select: Select,
        cost: u64,
        decide: Decide,
    ) -> Answer {
        let answer = self.planned(under, |planned| decide(planned, key, select, cost));
        answer.expect("an open limiter with all windows of the plan")
    }

    /// Gives back the cost. `None` if the key is judged together with others.
    pub(crate) fn refund(
        &self,
        under: Under,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Option<Answer> {
        self.planned(under, |planned| planned.refund(key, select, cost))
            .ok()
    }

    pub(crate) fn check_once(
        &self,
        under: Under,
        key: Key,
        select: Select,
        cost: u64,
        once: Once,
    ) -> Answer {
        let answer = self.planned(under, |planned| planned.check_once(key, select, cost, once));
        answer
            .expect("an open limiter with all windows of the plan")
            .0
    }

    pub(crate) fn read(&self, under: Under, key: Key, select: Select) -> Option<Known> {
        self.planned(under, |planned| planned.snapshot(key, select))
            .unwrap_or_default()
    }

    /// Returns whether there was room for the key.
    pub(crate) fn write(&self, under: Under, key: Key, known: &Known, how: Import) -> bool {
        self.planned(under, |planned| planned.import(key, known, how))
            .unwrap_or_default()
    }

    /// Forgets what the key has used, and the ids of its calls.
    pub(crate) fn reset(&self, key: Key, select: Select) {
        self.limiter
            .reset(self.epoch, key, select)
            .unwrap_or_default();
    }

    /// Forgets what the key has used.
    pub(crate) fn clear(&self, key: Key, select: Select) {
        self.limiter
            .clear(self.epoch, key, select)
            .unwrap_or_default();
    }

    pub(crate) fn passes(
        &self,
        under: Under,
        key: Key,
        answer: (Tag, &Usage),
        cost: u64,
        share: Scale,
    ) -> bool {
        let planned = self.limiter.under(self.epoch, under);
        planned.passes(key, answer, cost, share)
    }

    /// Returns a plan of this table; `None` if its limits cannot be kept.
    pub(crate) fn made(&self, changes: &[Change]) -> Option<Made> {
        self.limiter.made(self.epoch, changes).ok()
    }

    pub(crate) fn put_plans(&self, plans: &[(Key, Vec<Change>)]) -> Result<(), UpdateError> {
        self.limiter.put_plans(self.epoch, plans)
    }

    pub(crate) fn remove_plan(&self, name: Key) {
        self.limiter
            .remove_plan(self.epoch, name)
            .unwrap_or_default();
    }

    /// Runs a call under a plan, or under the limits as configured if the plan was removed meanwhile.
    fn planned<R>(
        &self,
        under: Under,
        call: impl Fn(&Planned) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        match call(&self.limiter.under(self.epoch, under)) {
            Err(CallError::UnknownPlan) => call(&self.limiter.under(self.epoch, Under::Own)),
            result => result,
        }
    }

    pub(crate) fn update_limits(&self, limits: &[(Tag, Limit)]) -> Result<(), UpdateError> {
        self.limiter.update_limits(self.epoch, limits)
    }

    pub(crate) fn preview(&self, limits: &[(Tag, Limit)]) -> Result<Preview, UpdateError> {
        self.limiter.preview(self.epoch, limits)
    }

    pub(crate) fn limits(&self) -> Vec<(Tag, Limit, u64)> {
        self.limiter.limits(self.epoch).unwrap_or_default()
    }

    pub(crate) fn set_scale(&self, scale: Scale) {
        self.limiter
            .set_scale(self.epoch, scale)
            .unwrap_or_default();
    }

    pub(crate) fn sweep(&self, max_slots: usize) -> usize {
        self.limiter
            .sweep(self.epoch, max_slots)
            .unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.limiter.is_empty(self.epoch).unwrap_or(true)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.limiter.stats(self.epoch).unwrap_or_default()
    }
}
