//! A window's limit in portable numbers, and the states that are stored under it.
//!
//! An authority that does not run this crate, such as a script in a database, counts in whole microseconds, or ticks of
//! them, and in numbers of at most 53 bits, which floating point represents exactly. It decides and writes; this module
//! writes the limit for it, reads the states that it has stored, and computes usage from them with the arithmetic of a
//! local limiter. All numbers are big-endian. Each algorithm's file describes its layouts.
//!
//! ```
//! use rate_limiter_core::{Limit, Scale};
//! use rate_limiter_distributed::meter::{put, Meter, Query};
//! use std::time::Duration;
//!
//! let meter = Meter::new("quota", &Limit::fixed_window(10, Duration::from_secs(1)))?;
//! // A fixed window that began at 5 s, of 1 s, with an amount of 7.
//! let mut value = vec![6];
//! for number in [5_000_000, 1_000_000, 7] {
//!     put(&mut value, number, 7);
//! }
//! let query = Query { now: 5_400_000, cost: 1, scale: Scale::ONE, denied: false };
//! let (usage, _state) = meter.read(Some(&value), &query).expect("a state");
//! assert_eq!((usage.remaining, usage.reset_after.as_millis_ceil()), (2, 600));
//! # Ok::<(), rate_limiter_distributed::MeterError>(())
//! ```

mod codec;
mod fixed_window;
mod sliding_log;
mod sliding_window;
mod token_bucket;

#[cfg(test)]
mod tests;

use rate_limiter_core::{Algorithm, Limit, Nanos, Scale, Snapshot, Usage};

use codec::Codec;
use fixed_window::FixedWindow;
use sliding_log::SlidingLog;
use sliding_window::SlidingWindow;
use token_bucket::TokenBucket;

pub use codec::{put, MeterError, Portion, Query, MAX_COST};

/// One window: its name, and its limit in portable numbers.
///
/// A period that is not a whole number of microseconds, and a rate whose tokens are not whole ticks apart, are rounded
/// towards admitting less, by at most 0.1 %. Without rounding, answers are those of a local limiter.
///
/// ```
/// use rate_limiter_core::{Limit, Scale};
/// use rate_limiter_distributed::Meter;
/// use std::time::Duration;
///
/// let meter = Meter::new("burst", &Limit::token_bucket(100, Duration::from_secs(1)).with_burst(200))?;
/// assert_eq!(meter.max(Scale::ONE), 200);
///
/// let too_fine = Limit::sliding_window(100, Duration::from_nanos(100));
/// let error = Meter::new("strict", &too_fine).unwrap_err();
/// assert_eq!(error.to_string(), "per: expected at least 10000 ns, or whole microseconds after it is cut into 10 sub-windows, got: 100 ns");
/// # Ok::<(), rate_limiter_distributed::MeterError>(())
/// ```
#[derive(Debug)]
pub struct Meter {
    name: Box<str>,
    limit: Limit,
    codec: Box<dyn Codec>,
}

impl Meter {
    /// Creates the window `name` of a limiter, or returns why the limit does not fit portable numbers.
    pub fn new(name: &str, limit: &Limit) -> Result<Self, MeterError> {
        limit.validate()?;
        let amount = limit.limit();
        let per = Nanos::from(limit.per());
        let codec: Box<dyn Codec> = match limit.algorithm() {
            Algorithm::TokenBucket { .. } => {
                Box::new(TokenBucket::new(amount, per, limit.capacity())?)
            }
            Algorithm::SlidingWindow { sub_windows } => {
                Box::new(SlidingWindow::new(amount, per, sub_windows)?)
            }
            Algorithm::SlidingLog => Box::new(SlidingLog::new(amount, per)?),
            Algorithm::FixedWindow { aligned } => Box::new(FixedWindow::new(amount, per, aligned)?),
        };
        Ok(Self {
            name: name.into(),
            limit: limit.clone(),
            codec,
        })
    }

    /// Returns the window's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the limit as configured.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Returns the largest amount that can be taken at once.
    #[must_use]
    pub fn max(&self, scale: Scale) -> u64 {
        self.codec.max(scale)
    }

    /// Encodes the limit at this scale for the authority.
    #[must_use]
    pub fn encode(&self, scale: Scale) -> Vec<u8> {
        self.codec.encode(scale)
    }

    /// Splits a state into portions that the authority can charge, the oldest first. A state of another algorithm has
    /// none.
    #[must_use]
    pub fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        self.codec.portions(snapshot)
    }

    /// Reads a stored value, `None` if the authority has none. Returns the usage and the state, or `None` if the value
    /// is not a state of this window, or out of its bounds.
    #[must_use]
    pub fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)> {
        self.codec.read(value, query)
    }
}
