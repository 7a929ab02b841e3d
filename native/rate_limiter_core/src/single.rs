//! One limit for one key.

use crate::algorithm::{Logs, Meter, State};
use crate::clock::Nanos;
use crate::error::LimitError;
use crate::limit::Limit;
use crate::scale::Scale;
use crate::snapshot::Snapshot;
use crate::verdict::Usage;

/// Applies one limit to the calls of one key, with the arithmetic of [`Limiter`](crate::Limiter) but without its table
/// and its clock: each call states its time.
///
/// ```
/// use rate_limiter_core::{Limit, Nanos, SingleLimiter};
/// use std::time::Duration;
///
/// let mut limiter = SingleLimiter::new(&Limit::sliding_log(1, Duration::from_nanos(10)))?;
/// assert!(limiter.check(Nanos(5), 1).allowed());
/// assert!(!limiter.check(Nanos(14), 1).allowed());
/// assert!(limiter.check(Nanos(15), 1).allowed());
/// # Ok::<(), rate_limiter_core::LimitError>(())
/// ```
#[derive(Debug)]
pub struct SingleLimiter {
    meter: Meter,
    words: Vec<u64>,
    logs: Logs,
}

impl SingleLimiter {
    /// Returns a limiter without calls so far. Aligned windows begin at multiples of the period since time 0.
    pub fn new(limit: &Limit) -> Result<Self, LimitError> {
        let meter = Meter::new(limit, Nanos(0))?;
        Ok(Self {
            words: vec![0; meter.words()],
            meter,
            logs: Logs::default(),
        })
    }

    /// Forgets all calls, and applies `limit` from now on. Allocates only if the new state is larger.
    pub fn restart(&mut self, limit: &Limit) -> Result<(), LimitError> {
        let meter = Meter::new(limit, Nanos(0))?;
        self.meter.clear(State {
            words: &mut self.words,
            logs: &mut self.logs,
        });
        self.words.resize(meter.words(), 0);
        self.meter = meter;
        Ok(())
    }

    /// Admits or denies a call at `now`, as [`Limiter::check`](crate::Limiter::check) does.
    pub fn check(&mut self, now: Nanos, cost: u64) -> Usage {
        self.take(now, cost, Scale::ONE)
    }

    /// Admits or denies a call at `now`, at a scale.
    pub fn take(&mut self, now: Nanos, cost: u64, scale: Scale) -> Usage {
        let (meter, state) = self.parts();
        meter.take(state, now, cost, scale, true)
    }

    /// Returns what [`take`](Self::take) would return. Takes nothing.
    #[must_use]
    pub fn peek(&mut self, now: Nanos, cost: u64, scale: Scale) -> Usage {
        self.renew(now);
        self.meter.decide(&self.words, &self.logs, now, cost, scale)
    }

    /// Gives back `cost`, up to what is used.
    pub fn refund(&mut self, now: Nanos, cost: u64) {
        self.renew(now);
        let (meter, state) = self.parts();
        meter.refund(state, now, cost);
    }

    /// Gives back `cost` of a call that was charged at `at`, and of which `left` was not given back yet: at most what
    /// still counts of that call.
    pub fn give_back(&mut self, now: Nanos, at: Nanos, left: u64, cost: u64) {
        self.renew(now);
        let (meter, state) = self.parts();
        meter.give_back(state, now, at, left, cost);
    }

    /// Returns what counts as used now, `None` if nothing does.
    pub fn snapshot(&mut self, now: Nanos) -> Option<Snapshot> {
        self.renew(now);
        let (meter, state) = self.parts();
        meter.export(state, now, Nanos(0))
    }

    /// Replaces what was used by a snapshot of the same algorithm. The snapshot of another one changes nothing.
    pub fn import(&mut self, now: Nanos, snapshot: &Snapshot) {
        let (meter, state) = self.parts();
        meter.import(state, now, Nanos(0), snapshot);
    }

    /// Returns the exact state of a bucket, of which a [`snapshot`](Self::snapshot) is rounded up to nanoseconds: the
    /// moment at which it is full again, and a number that says under which rate that was calculated. `None` for other
    /// algorithms, whose snapshots are exact.
    #[must_use]
    pub fn bucket(&self) -> Option<(Nanos, u64)> {
        match (&self.meter, &self.words[..]) {
            (Meter::TokenBucket(_), &[full_at, interval]) => Some((Nanos(full_at), interval)),
            _ => None,
        }
    }

    /// Continues from the exact state of a bucket, also of another rate. Changes no other algorithm.
    pub fn set_bucket(&mut self, (full_at, interval): (Nanos, u64)) {
        if let (Meter::TokenBucket(_), [first, second]) = (&self.meter, &mut self.words[..]) {
            (*first, *second) = (full_at.0, interval);
        }
    }

    /// Every call first converts the state to the present limit.
    fn renew(&mut self, now: Nanos) {
        let (meter, state) = self.parts();
        meter.renew(state, now);
    }

    fn parts(&mut self) -> (&Meter, State<'_>) {
        let state = State {
            words: &mut self.words,
            logs: &mut self.logs,
        };
        (&self.meter, state)
    }
}
