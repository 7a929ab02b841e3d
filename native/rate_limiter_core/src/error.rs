//! What can go wrong when a limit is described, and when a call names something that is not there.

/// A limit or a plan that cannot be kept exactly, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The limit is zero.
    #[error("limit: expected at least 1, got: 0")]
    ZeroLimit,
    /// The period is zero.
    #[error("per: expected a period of at least 1 ns, got: 0")]
    ZeroPeriod,
    /// The burst is zero.
    #[error("burst: expected at least 1, got: 0")]
    ZeroBurst,
    /// The limit is above what the algorithm can count.
    #[error("limit: expected at most {max} for this algorithm, got: {limit}")]
    LimitTooHigh {
        /// What came.
        limit: u64,
        /// What is possible.
        max: u64,
    },
    /// So many tokens a period are closer together than the arithmetic can tell apart.
    #[error("limit: {limit} per {per_ns} ns is more than 8,000,000 per ns, which cannot be kept to 0.001 %")]
    RateTooHigh {
        /// What came.
        limit: u64,
        /// What came, in nanoseconds.
        per_ns: u64,
    },
    /// A full bucket would take longer to fill than can be counted in the ticks that its rate needs.
    #[error("burst: expected at most {max} at this rate, got: {burst}")]
    BurstTooLong {
        /// What came.
        burst: u64,
        /// What is possible.
        max: u64,
    },
    /// The period is above what can be counted.
    #[error("per: expected less than 9 years (2^58 ns), got: {per_ns} ns")]
    PeriodTooLong {
        /// What came, in nanoseconds.
        per_ns: u64,
    },
    /// The number of sub-windows is out of range.
    #[error("sub_windows: expected 1 to {max}, got: {sub_windows}")]
    SubWindows {
        /// What came.
        sub_windows: u32,
        /// What is possible.
        max: u32,
    },
    /// A plan has no window, or too many.
    #[error("windows: expected 1 to {max}, got: {windows}")]
    Windows {
        /// What came.
        windows: usize,
        /// What is possible.
        max: usize,
    },
    /// Two windows of one plan carry the same tag.
    #[error("windows: expected each window once, got one twice")]
    DuplicateWindow,
    /// A change would need another shape of state (another algorithm or number of sub-windows).
    #[error("algorithm: expected the window's own, since what was used could not be kept")]
    ShapeChanged,
}

/// Why a limit could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// There is no such limiter or window.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The new limit cannot be kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// A call that names something that is not there.
// As wide as the fields of a usage: a byte that shares their place in a `Result` would have usages copied in odd pieces,
// for each of which the processor waits (a tenth of a check).
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The limiter was closed, or the epoch is an earlier tenant's.
    #[error("no such limiter")]
    UnknownLimiter,
    /// The limiter has no window with this tag.
    #[error("no such window")]
    UnknownWindow,
}
