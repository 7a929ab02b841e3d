//! Finds the smallest limit under which an id is never denied, and what lower limits do.
//!
//! The requests of each id are checked alone, by the arithmetic of a limiter, under one candidate after the other. An
//! id that one limit never denies is not denied by a higher one: each algorithm then counts the same uses against more
//! room. So the search halves the candidates. The burst follows the limit: the proportion of a stated burst to its
//! limit stays, rounded up.

use rate_limiter_core::{Algorithm, Limit, LimitError, Nanos, SingleLimiter};

use crate::events::{ById, History};

/// Returns the stated limit with another amount, and its burst in proportion.
#[must_use]
pub fn with_limit(stated: &Limit, limit: u64) -> Limit {
    let algorithm = match stated.algorithm() {
        Algorithm::TokenBucket { burst: Some(burst) } => Algorithm::TokenBucket {
            burst: Some(in_proportion(burst, limit, stated.limit())),
        },
        same => same,
    };
    Limit::new(limit, stated.per(), algorithm)
}

/// Returns the lowest limit whose bucket holds `cost`.
fn limit_that_holds(stated: &Limit, cost: u64) -> u64 {
    match stated.algorithm() {
        Algorithm::TokenBucket { burst: Some(burst) } => in_proportion(stated.limit(), cost, burst),
        _ => cost,
    }
}

/// Returns `value * of / to`, rounded up and saturating.
fn in_proportion(value: u64, of: u64, to: u64) -> u64 {
    let exact = (u128::from(value) * u128::from(of)).div_ceil(u128::from(to.max(1)));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Tries limits on histories. Keeps one limiter for all, so that a try allocates nothing.
pub(crate) struct Fitting<'a> {
    stated: &'a Limit,
    limiter: SingleLimiter,
}

impl<'a> Fitting<'a> {
    pub(crate) fn new(stated: &'a Limit) -> Self {
        Self {
            stated,
            limiter: SingleLimiter::new(stated).expect("the replay was made with this limit"),
        }
    }

    /// Returns for each id the smallest limit under which it is never denied; `None` if no limit of this kind is high
    /// enough.
    pub(crate) fn smallest_of_all(&mut self, events: &ById) -> Vec<Option<u64>> {
        (0..events.len())
            .map(|id| self.smallest(&events.history(id)))
            .collect()
    }

    fn smallest(&mut self, history: &History) -> Option<u64> {
        // Nothing is denied if the cost of all requests fits at once. The stated limit can be kept, but a lower one
        // perhaps cannot (1 in a period of years).
        let enough = limit_that_holds(self.stated, history.total_cost()).max(self.stated.limit());
        let enough = self.possible(enough)?;
        let (mut fails, mut passes) = (0, 1);
        while passes < enough && !self.never_denies(passes, history) {
            fails = passes;
            passes = passes.saturating_mul(2);
        }
        if passes >= enough {
            passes = enough;
            if !self.never_denies(passes, history) {
                return None;
            }
        }
        while passes - fails > 1 {
            let middle = fails + (passes - fails) / 2;
            if self.never_denies(middle, history) {
                passes = middle;
            } else {
                fails = middle;
            }
        }
        Some(passes)
    }

    /// Returns `limit`, or the highest that the algorithm can keep.
    fn possible(&self, limit: u64) -> Option<u64> {
        match with_limit(self.stated, limit).validate() {
            Ok(()) => Some(limit),
            Err(LimitError::LimitTooHigh { max, .. }) => Some(max),
            Err(_) => None,
        }
    }

    fn never_denies(&mut self, limit: u64, history: &History) -> bool {
        self.restart(limit) && history.iter().all(|call| self.admits(call))
    }

    /// Returns how many requests `limit` denies; all of them if it cannot be kept.
    pub(crate) fn denied(&mut self, limit: u64, history: &History) -> u64 {
        let kept = self.restart(limit);
        history
            .iter()
            .filter(|&call| !kept || !self.admits(call))
            .count() as u64
    }

    /// Decides all requests by the stated limit, and visits each with its time and whether it is admitted.
    pub(crate) fn decide(&mut self, history: &History, mut visit: impl FnMut(u64, bool)) {
        if self.restart(self.stated.limit()) {
            for (time, cost) in history.iter() {
                visit(time, self.admits((time, cost)));
            }
        }
    }

    /// Returns whether `limit` can be kept.
    fn restart(&mut self, limit: u64) -> bool {
        self.limiter
            .restart(&with_limit(self.stated, limit))
            .is_ok()
    }

    fn admits(&mut self, (time, cost): (u64, u64)) -> bool {
        self.limiter.check(Nanos(time), cost).allowed()
    }
}
