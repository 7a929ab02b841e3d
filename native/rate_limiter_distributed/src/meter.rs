//! A window's limit in portable numbers, and the states that are stored under it.
//!
//! An authority that does not run this crate, such as a script in a database, counts in whole microseconds, or ticks of
//! them, and in numbers of at most 53 bits, which floating point represents exactly. It decides and writes; this module
//! writes the limit for it, reads the states that it has stored, and computes usage from them with the arithmetic of a
//! local limiter. All numbers are big-endian. Each algorithm's file describes its layouts.

mod fixed_window;
mod sliding_log;
mod sliding_window;
mod token_bucket;

use std::fmt::Debug;

use rate_limiter_core::{Algorithm, Limit, LimitError, Nanos, Scale, Snapshot, Usage};

use fixed_window::FixedWindow;
use sliding_log::SlidingLog;
use sliding_window::SlidingWindow;
use token_bucket::TokenBucket;

/// A cost above this is above every maximum. No number in a state is larger than twice this.
pub const MAX_COST: u64 = 1 << 52;

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

/// A question about a stored state. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// The authority's time.
    pub now: u64,
    /// The cost that the answer is about.
    pub cost: u64,
    /// The factor on the limit.
    pub scale: Scale,
    /// Whether the call was denied. A window that had room reports its usage without the cost then.
    pub denied: bool,
}

/// An amount at a moment, as part of a charge: the moment is in microseconds, the number of a sub-window, or unused, as
/// the algorithm needs it.
pub type Portion = (u64, u64);

/// What [`Meter`] does, for one algorithm.
trait Codec: Debug + Send + Sync {
    fn max(&self, scale: Scale) -> u64;
    fn encode(&self, scale: Scale) -> Vec<u8>;
    fn portions(&self, snapshot: &Snapshot) -> Vec<Portion>;
    fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)>;
}

/// The states of one algorithm.
trait States {
    /// A key's usage, moved to the present.
    type State;

    /// Decodes a stored value. Returns an unused state if the value was written under another limit, since the authority
    /// would have converted it if it still counted; and `None` if it is not a value of this algorithm.
    fn decode(&self, value: Option<&[u8]>, now: u64) -> Option<Self::State>;

    /// Computes what a local limiter would answer.
    fn usage(&self, state: &Self::State, query: &Query) -> Usage;

    fn snapshot(&self, state: &Self::State) -> Snapshot;

    fn answer(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)> {
        let state = self.decode(value, query.now)?;
        let mut usage = self.usage(&state, query);
        if query.denied && usage.allowed() {
            usage = self.usage(&state, &Query { cost: 0, ..*query });
        }
        Some((usage, self.snapshot(&state)))
    }
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

    /// Splits a state into portions that the authority can charge, the oldest first. Returns none for a state of another
    /// algorithm.
    #[must_use]
    pub fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        self.codec.portions(snapshot)
    }

    /// Reads a value that the authority has stored, `None` if it has none. Returns the usage and the state, or `None` if
    /// the value is not a state of this window.
    #[must_use]
    pub fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)> {
        self.codec.read(value, query)
    }
}

/// Why a limit does not fit portable numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeterError {
    /// It does not fit a local limiter either, or needs more than 53 bits.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Rounding the period, or a part of it, to microseconds would change the rate by more than 0.1 %.
    #[error("per: expected at least {} ns, or whole microseconds{}, got: {per_ns} ns", 1_000 * u64::from(*.parts), cut(*.parts))]
    PeriodTooFine {
        /// The period in nanoseconds.
        per_ns: u64,
        /// The number of parts into which it is cut.
        parts: u32,
    },
}

fn cut(parts: u32) -> String {
    match parts {
        1 => String::new(),
        parts => format!(" after it is cut into {parts} sub-windows"),
    }
}

/// Returns the length of a part of a period in whole microseconds, rounded up.
fn part_of(per: Nanos, parts: u32) -> Result<u64, MeterError> {
    let nanos = 1_000 * u64::from(parts);
    let micros = per.0.div_ceil(nanos);
    let rounded = u128::from(micros) * u128::from(nanos);
    if (rounded - u128::from(per.0)) * 1_000 > u128::from(per.0) {
        let per_ns = per.0;
        return Err(MeterError::PeriodTooFine { per_ns, parts });
    }
    Ok(micros)
}

fn micros_ceil(time: Nanos) -> u64 {
    time.0.div_ceil(1_000)
}

fn nanos(micros: u64) -> Nanos {
    Nanos(micros.saturating_mul(1_000))
}

/// Reads a number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Appends a number of `size` bytes.
pub fn put(into: &mut Vec<u8>, number: u64, size: usize) {
    into.extend(&number.to_be_bytes()[8 - size..]);
}
