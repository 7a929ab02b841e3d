//! What the algorithms' codecs have in common.

use std::fmt::Debug;

use rate_limiter_core::{LimitError, Nanos, Scale, Snapshot, Usage};

/// A cost above this is above every maximum. No number in a state is larger than twice this.
pub const MAX_COST: u64 = 1 << 52;

/// The largest number of a state: floating point represents all up to it exactly.
pub(super) const MAX_NUMBER: u64 = 1 << 53;

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

/// What [`Meter`](super::Meter) does, for one algorithm.
pub(super) trait Codec: Debug + Send + Sync {
    fn max(&self, scale: Scale) -> u64;
    fn encode(&self, scale: Scale) -> Vec<u8>;
    fn portions(&self, snapshot: &Snapshot) -> Vec<Portion>;
    fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)>;
}

/// The states of one algorithm.
pub(super) trait States {
    /// A key's usage, moved to the present.
    type State;

    /// Decodes a stored value. Returns an unused state if the value was written under another limit, since the
    /// authority would have returned one of this limit if it still counted; and `None` if it is not a value of this algorithm, or out
    /// of its bounds. Any program may have written it: whatever it holds must neither panic nor take much memory.
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
pub(super) fn part_of(per: Nanos, parts: u32) -> Result<u64, MeterError> {
    let nanos = 1_000 * u64::from(parts);
    let micros = per.0.div_ceil(nanos);
    let rounded = u128::from(micros) * u128::from(nanos);
    if (rounded - u128::from(per.0)) * 1_000 > u128::from(per.0) {
        let per_ns = per.0;
        return Err(MeterError::PeriodTooFine { per_ns, parts });
    }
    Ok(micros)
}

pub(super) fn micros_ceil(time: Nanos) -> u64 {
    time.0.div_ceil(1_000)
}

pub(super) fn nanos(micros: u64) -> Nanos {
    Nanos(micros.saturating_mul(1_000))
}

/// Reads a number of up to 8 bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Appends a number of `size` bytes.
pub fn put(into: &mut Vec<u8>, number: u64, size: usize) {
    into.extend(&number.to_be_bytes()[8 - size..]);
}
