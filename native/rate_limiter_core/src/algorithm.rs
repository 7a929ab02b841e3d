//! The algorithms: pure arithmetic on a few words of state. The store owns the words, and guards them by a lock.
//!
//! A state of zeros has used nothing.

mod fixed_window;
mod gcra;
mod sliding_log;
mod sliding_window;
mod snapshot;

use crate::clock::Nanos;
use crate::error::LimitError;
use crate::limit::{Algorithm, Limit};
use crate::scale::Scale;
use crate::verdict::Usage;

use fixed_window::FixedWindow;
use gcra::Gcra;
use sliding_log::SlidingLog;
use sliding_window::SlidingWindow;

pub(crate) use gcra::converted;
pub(crate) use sliding_log::Logs;
pub(crate) use sliding_window::MAX_SUB_WINDOWS;

/// One limit, prepared for its arithmetic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    TokenBucket(Gcra),
    SlidingWindow(SlidingWindow),
    SlidingLog(SlidingLog),
    FixedWindow(FixedWindow),
}

/// The state of one key: words in its slot, and the logs of the stripe, which a sliding log refers to.
pub(crate) struct State<'a> {
    pub(crate) words: &'a mut [u64],
    pub(crate) logs: &'a mut Logs,
}

impl Limit {
    /// Returns an error if this limit cannot be kept exactly. Allocates nothing.
    pub fn validate(&self) -> Result<(), LimitError> {
        Meter::new(self, Nanos(0)).map(drop)
    }
}

impl Meter {
    pub(crate) fn new(limit: &Limit, offset_to_unix: Nanos) -> Result<Self, LimitError> {
        let (amount, per) = limit.checked()?;
        Ok(match limit.algorithm() {
            Algorithm::TokenBucket { .. } => {
                Self::TokenBucket(Gcra::new(amount, per, limit.capacity())?)
            }
            Algorithm::SlidingWindow { sub_windows } => {
                Self::SlidingWindow(SlidingWindow::new(amount, per, sub_windows)?)
            }
            Algorithm::SlidingLog => Self::SlidingLog(SlidingLog::new(amount, per)?),
            Algorithm::FixedWindow { aligned } => {
                Self::FixedWindow(FixedWindow::new(amount, per, aligned, offset_to_unix))
            }
        })
    }

    /// Returns how many words the state of a key has.
    pub(crate) fn words(&self) -> usize {
        match self {
            Self::TokenBucket(_) => gcra::WORDS,
            Self::SlidingWindow(window) => window.words(),
            Self::SlidingLog(_) => sliding_log::WORDS,
            Self::FixedWindow(_) => fixed_window::WORDS,
        }
    }

    /// Returns whether a part of the state lies on the heap.
    pub(crate) fn keeps_log(&self) -> bool {
        matches!(self, Self::SlidingLog(_))
    }

    /// Returns whether a state that was written under `other` can be read under this one.
    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::SlidingWindow(this), Self::SlidingWindow(other)) => this.has_shape_of(other),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Sets the distance to UTC. [`follow`](Self::follow) converts each state that was written before.
    pub(crate) fn set_offset(&mut self, offset_to_unix: Nanos) {
        if let Self::FixedWindow(window) = self {
            window.set_offset(offset_to_unix);
        }
    }

    /// Converts a state that was written with another distance to UTC, `old`, to the present one.
    pub(crate) fn follow(&self, words: &mut [u64], old: Nanos, now: Nanos) {
        if let Self::FixedWindow(window) = self {
            window.follow(words, old, now);
        }
    }

    /// Converts a state that was written under another limit to this one, as of now. Every call does so first, also one
    /// that takes nothing: its answer must hold for the next call.
    pub(crate) fn renew(&self, state: State, now: Nanos) {
        let State { words, logs } = state;
        match self {
            Self::TokenBucket(gcra) => gcra.renew(words, now),
            Self::SlidingWindow(window) => window.renew(words, now),
            Self::SlidingLog(log) => logs.change(words, |stamps| log.renew(stamps, now)),
            Self::FixedWindow(window) => window.renew(words, now),
        }
    }

    /// Returns whether `renew` would not change a state, as it was written at this rate, or under this period.
    pub(crate) fn wrote(&self, state: &State) -> bool {
        let State { words, logs } = state;
        match self {
            Self::TokenBucket(gcra) => gcra.wrote_state(words),
            Self::SlidingWindow(window) => window.wrote(words),
            Self::SlidingLog(log) => log.wrote(logs.get(words)),
            Self::FixedWindow(window) => window.wrote(words),
        }
    }

    /// Returns what `take` would return for a renewed state. Writes nothing.
    #[inline]
    pub(crate) fn decide(
        &self,
        words: &[u64],
        logs: &Logs,
        now: Nanos,
        cost: u64,
        scale: Scale,
    ) -> Usage {
        match self {
            Self::TokenBucket(gcra) => gcra.decide(words, now, cost, scale),
            Self::SlidingWindow(window) => window.decide(words, now, cost, scale),
            Self::SlidingLog(log) => log.decide(logs.get(words), now, cost, scale),
            Self::FixedWindow(window) => window.decide(words, now, cost, scale),
        }
    }

    /// Renews the state, and takes `cost` if it is admitted, all of it or nothing. `may_grow` is whether the state may
    /// use more memory.
    #[inline]
    pub(crate) fn take(
        &self,
        state: State,
        now: Nanos,
        cost: u64,
        scale: Scale,
        may_grow: bool,
    ) -> Usage {
        let State { words, logs } = state;
        match self {
            Self::TokenBucket(gcra) => gcra.take(words, now, cost, scale),
            Self::SlidingWindow(window) => window.take(words, now, cost, scale),
            Self::SlidingLog(log) => {
                logs.update(words, |stamps| log.take(stamps, now, cost, scale, may_grow))
            }
            Self::FixedWindow(window) => window.take(words, now, cost, scale),
        }
    }

    /// Marks a state by which several keys are counted, so that none of them is admitted too often.
    pub(crate) fn share(&self, words: &mut [u64]) {
        if let Self::FixedWindow(window) = self {
            window.share(words);
        }
    }

    /// Returns `cost` to the limit, never more than is used.
    pub(crate) fn refund(&self, state: State, now: Nanos, cost: u64) {
        let State { words, logs } = state;
        match self {
            Self::TokenBucket(gcra) => gcra.refund(words, now, cost),
            Self::SlidingWindow(window) => window.refund(words, now, cost),
            Self::SlidingLog(log) => logs.change(words, |stamps| log.refund(stamps, now, cost)),
            Self::FixedWindow(window) => window.refund(words, now, cost),
        }
    }

    /// Returns `cost` of a call that was charged at `at`, and of which `left` was not given back yet: at most what still
    /// counts of that call.
    pub(crate) fn give_back(&self, state: State, now: Nanos, at: Nanos, left: u64, cost: u64) {
        let State { words, logs } = state;
        match self {
            Self::TokenBucket(gcra) => gcra.give_back(words, now, at, left, cost),
            Self::SlidingWindow(window) => window.give_back(words, at, cost),
            Self::SlidingLog(_) => logs.change(words, |stamps| stamps.give_back(at, cost)),
            Self::FixedWindow(window) => window.give_back(words, now, at, cost),
        }
    }

    /// Returns whether nothing counts as used any more, so that forgetting the state changes no answer.
    #[inline]
    pub(crate) fn is_idle(&self, words: &[u64], logs: &Logs, now: Nanos) -> bool {
        match self {
            Self::TokenBucket(_) => Gcra::is_idle(words, now),
            Self::SlidingWindow(window) => window.is_idle(words, now),
            Self::SlidingLog(_) => SlidingLog::is_idle(logs.get(words), now),
            Self::FixedWindow(window) => window.is_idle(words, now),
        }
    }

    /// Clears what was used.
    pub(crate) fn clear(&self, state: State) {
        let State { words, logs } = state;
        if self.keeps_log() {
            logs.remove(words);
        }
        words.fill(0);
    }

    /// Moves the log of a state to the stripe to which its slot has moved.
    pub(crate) fn hand_over(&self, state: State, to: &mut Logs) {
        let State { words, logs } = state;
        if self.keeps_log() {
            logs.hand_over(words, to);
        }
    }

    /// Copies the logs of a copied state from `from` to `to`.
    pub(crate) fn copy_over(&self, words: &mut [u64], from: &Logs, to: &mut Logs) {
        if self.keeps_log() {
            from.copy_over(words, to);
        }
    }

    /// Copies the log of a copied state within its stripe.
    pub(crate) fn detach(&self, state: State) {
        let State { words, logs } = state;
        if self.keeps_log() {
            logs.detach(words);
        }
    }
}
