//! One limit for one key.

use crate::algorithm::{Logs, Meter, State};
use crate::clock::Nanos;
use crate::error::LimitError;
use crate::limit::Limit;
use crate::scale::Scale;
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
        let state = State {
            words: &mut self.words,
            logs: &mut self.logs,
        };
        self.meter.take(state, now, cost, Scale::ONE, true)
    }
}
