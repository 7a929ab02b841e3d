//! A local limiter that stays open for as long as it exists, so that its calls cannot fail.

use rate_limiter_core::{
    Answer, CallError, Epoch, Import, Key, Known, Limit, LimitError, Limiter, Once, Options,
    Preview, Scale, Select, Stats, Tag, UpdateError, Usage,
};

use crate::authority_clock::AuthorityClock;

/// A function of the local limiter that decides over several windows.
pub(crate) type Decide = fn(&Limiter, Epoch, Key, Select, u64) -> Result<Answer, CallError>;

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

    pub(crate) fn decide(&self, key: Key, select: Select, cost: u64, decide: Decide) -> Answer {
        let answer = decide(&self.limiter, self.epoch, key, select, cost);
        answer.expect("an open limiter with all windows of the plan")
    }

    /// Gives back the cost. `None` if the key is judged together with others.
    pub(crate) fn refund(&self, key: Key, select: Select, cost: u64) -> Option<Answer> {
        self.limiter.refund(self.epoch, key, select, cost).ok()
    }

    pub(crate) fn check_once(&self, key: Key, select: Select, cost: u64, once: Once) -> Answer {
        let (limiter, epoch) = (&self.limiter, self.epoch);
        let answer = limiter.check_once(epoch, key, select, cost, once);
        answer
            .expect("an open limiter with all windows of the plan")
            .0
    }

    pub(crate) fn read(&self, key: Key, select: Select) -> Option<Known> {
        self.limiter
            .snapshot(self.epoch, key, select)
            .unwrap_or_default()
    }

    /// Returns whether there was room for the key.
    pub(crate) fn write(&self, key: Key, known: &Known, how: Import) -> bool {
        self.limiter
            .import(self.epoch, key, known, how)
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

    pub(crate) fn passes(&self, key: Key, answer: (Tag, &Usage), cost: u64, share: Scale) -> bool {
        self.limiter.passes(self.epoch, key, answer, cost, share)
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
