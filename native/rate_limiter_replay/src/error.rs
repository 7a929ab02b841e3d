//! Errors of a replay, and of a line.

use rate_limiter_core::LimitError;

/// Why a replay cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A limit cannot be kept exactly.
    #[error("limit {index}: {error}")]
    Limit {
        /// The number of the limit, from 0.
        index: usize,
        /// The reason.
        error: LimitError,
    },
    /// The schema has more JSON names than can be searched at once.
    #[error("expected at most 128 field names in all")]
    TooManyNames,
}

/// Why a line cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It is too long.
    TooLong,
    /// It does not have the shape of a Common Log Format line.
    Shape,
    /// Its time is invalid, or outside of 1970 to 2262.
    Time,
    /// Its request is not in quotes.
    Request,
    /// Its status or size is not a number.
    Status,
    /// It is not a JSON object.
    Json,
    /// A JSON object without a time.
    NoTime,
    /// A field of the id is an array or an object.
    Nested,
    /// The cost is not a whole number.
    Cost,
    /// A line of the Common Log Format, which does not have the requested field.
    NoField,
    /// The text is UTF-16.
    Utf16,
    /// Several lines, which end in carriage returns alone.
    CarriageReturns,
    /// More than four billion ids.
    TooManyIds,
}
