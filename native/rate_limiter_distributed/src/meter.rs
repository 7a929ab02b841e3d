//! A window's limit, made ready for Redis: in whole microseconds, or ticks of them, and numbers of at most 53 bits,
//! which is what its script can count exactly.
//!
//! The script decides and writes. What a state means, how much is left and when to come again, is told here, by the
//! same arithmetic as in memory.

mod fixed_window;
mod sliding_log;
mod sliding_window;
mod token_bucket;

use rate_limiter_core::{Algorithm, Limit, LimitError, Nanos, Scale, Snapshot, Usage};

use crate::call::WindowReply;

use fixed_window::FixedWindow;
use sliding_log::SlidingLog;
use sliding_window::SlidingWindow;
use token_bucket::TokenBucket;

/// A cost above this is above every maximum. No number of a state is larger than twice this, so that also an authority
/// that counts in floating point numbers is exact.
pub const MAX_COST: u64 = 1 << 52;

/// One window as Redis counts it: its limit in numbers that the script can hold, and its part of the key.
///
/// A period that is no whole number of microseconds, and a rate whose tokens are not whole ticks apart, are rounded
/// towards admitting less, by at most 0.1 %. Where that is not needed, answers are those of a limiter in memory.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    name: Box<str>,
    limit: Limit,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    TokenBucket(TokenBucket),
    SlidingWindow(SlidingWindow),
    SlidingLog(SlidingLog),
    FixedWindow(FixedWindow),
}

/// What is asked of a state. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// The authority's time.
    pub now: u64,
    /// The cost that the answer is about.
    pub cost: u64,
    /// The factor on the limit.
    pub scale: Scale,
    /// Whether nothing was taken although this window may have had room: then it reports what it has now.
    pub denied: bool,
}

/// An algorithm's arithmetic.
trait Count {
    /// What a key has used, brought to the present.
    type State;

    /// A key's value, if it is one. One that was written under another limit is over, since the script would have
    /// renewed it otherwise.
    fn read(&self, value: Option<&[u8]>, now: u64) -> Option<Self::State>;

    /// What `Limiter::peek` says of a cost.
    fn usage(&self, state: &Self::State, ask: &Query) -> Usage;

    fn snapshot(&self, state: &Self::State) -> Snapshot;
}

/// So many at a moment: microseconds, the number of a sub-window, or nothing, as the algorithm has it.
pub type Portion = (u64, u64);

impl Meter {
    /// The window `name` of a limiter. An error says what of the limit does not fit Redis's numbers.
    pub fn new(name: &str, limit: &Limit) -> Result<Self, MeterError> {
        limit.validate()?;
        let amount = limit.limit();
        let per = Nanos::from(limit.per());
        let kind = match limit.algorithm() {
            Algorithm::TokenBucket { burst } => {
                Kind::TokenBucket(TokenBucket::new(amount, per, burst.unwrap_or(amount))?)
            }
            Algorithm::SlidingWindow { sub_windows } => {
                Kind::SlidingWindow(SlidingWindow::new(amount, per, sub_windows)?)
            }
            Algorithm::SlidingLog => Kind::SlidingLog(SlidingLog::new(amount, per)?),
            Algorithm::FixedWindow { aligned } => {
                Kind::FixedWindow(FixedWindow::new(amount, per, aligned)?)
            }
        };
        Ok(Self {
            name: name.into(),
            limit: limit.clone(),
            kind,
        })
    }

    /// The limit as it was stated.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// The most that can be taken at once.
    #[must_use]
    pub fn max(&self, scale: Scale) -> u64 {
        match &self.kind {
            Kind::TokenBucket(bucket) => bucket.max(scale),
            Kind::SlidingWindow(window) => window.max(scale),
            Kind::SlidingLog(log) => log.max(scale),
            Kind::FixedWindow(window) => window.max(scale),
        }
    }

    /// The window's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the limit at this scale: its algorithm's number, and what the algorithm's file says.
    #[must_use]
    pub fn encode(&self, scale: Scale) -> Vec<u8> {
        match &self.kind {
            Kind::TokenBucket(bucket) => bucket.argument(scale),
            Kind::SlidingWindow(window) => window.argument(scale),
            Kind::SlidingLog(log) => log.argument(scale),
            Kind::FixedWindow(window) => window.argument(scale),
        }
    }

    /// What a state is as a charge, the oldest first. One of another algorithm is nothing.
    #[must_use]
    pub fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        match (&self.kind, snapshot) {
            (Kind::TokenBucket(bucket), Snapshot::Bucket { debt }) => bucket.portions(*debt),
            (
                Kind::SlidingWindow(window),
                Snapshot::Window {
                    width,
                    newest,
                    counts,
                },
            ) => window.portions(*width, *newest, counts),
            (Kind::SlidingLog(_), Snapshot::Log { stamps }) => sliding_log::portions(stamps),
            (Kind::FixedWindow(_), Snapshot::Fixed { start, used, .. }) => {
                vec![(micros_ceil(*start), (*used).min(MAX_COST))]
            }
            _ => Vec::new(),
        }
    }

    /// What a key's value says; `None` if it is no value of this window.
    #[must_use]
    pub fn read(&self, value: Option<&[u8]>, ask: &Query) -> Option<WindowReply> {
        match &self.kind {
            Kind::TokenBucket(bucket) => row(bucket, value, ask),
            Kind::SlidingWindow(window) => row(window, value, ask),
            Kind::SlidingLog(log) => row(log, value, ask),
            Kind::FixedWindow(window) => row(window, value, ask),
        }
    }
}

fn row<C: Count>(count: &C, value: Option<&[u8]>, ask: &Query) -> Option<WindowReply> {
    let state = count.read(value, ask.now)?;
    let mut usage = count.usage(&state, ask);
    if ask.denied && usage.allowed() {
        usage = count.usage(&state, &Query { cost: 0, ..*ask });
    }
    Some(WindowReply {
        max: usage.max,
        remaining: usage.remaining,
        reset_after: usage.reset_after,
        retry: usage.retry,
        state: count.snapshot(&state),
    })
}

/// Why a limit cannot be kept in Redis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeterError {
    /// It cannot be kept in memory either, or is too much for 53 bits.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A server's clock counts microseconds: rounding the period, or a part of it, to them would change the rate by
    /// more than 0.1 %.
    #[error("per: expected at least {} ns, or whole microseconds{}, got: {per_ns} ns", 1_000 * u64::from(*.parts), cut(*.parts))]
    PeriodTooFine {
        /// What came, in nanoseconds.
        per_ns: u64,
        /// Into how many parts it is cut.
        parts: u32,
    },
}

fn cut(parts: u32) -> String {
    match parts {
        1 => String::new(),
        parts => format!(" after it is cut into {parts} sub-windows"),
    }
}

/// The length of a part of a period in whole microseconds, rounded up.
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

/// The big-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The `size` lowest bytes of a number, big-endian.
pub fn put(into: &mut Vec<u8>, number: u64, size: usize) {
    into.extend(&number.to_be_bytes()[8 - size..]);
}
