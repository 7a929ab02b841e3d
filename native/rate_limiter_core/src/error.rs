//! Errors of limits, and of calls that name an unknown limiter or window.

/// Why a limit, or several limits together, cannot be kept exactly.
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
        /// The value given.
        limit: u64,
        /// The largest possible value.
        max: u64,
    },
    /// The tokens are closer together than the arithmetic can distinguish.
    #[error("limit: {limit} per {per_ns} ns is more than 8,000,000 per ns, which cannot be kept to 0.001 %")]
    RateTooHigh {
        /// The value given.
        limit: u64,
        /// The value given, in nanoseconds.
        per_ns: u64,
    },
    /// An empty bucket would take longer to fill than can be counted in the ticks of its rate.
    #[error("burst: expected at most {max} at this rate, got: {burst}")]
    BurstTooLong {
        /// The value given.
        burst: u64,
        /// The largest possible value.
        max: u64,
    },
    /// The period is longer than can be counted.
    #[error("per: expected less than 9 years (2^58 ns), got: {per_ns} ns")]
    PeriodTooLong {
        /// The value given, in nanoseconds.
        per_ns: u64,
    },
    /// The number of sub-windows is out of range.
    #[error("sub_windows: expected 1 to {max}, got: {sub_windows}")]
    SubWindows {
        /// The value given.
        sub_windows: u32,
        /// The largest possible value.
        max: u32,
    },
    /// A limiter has no window, or too many.
    #[error("windows: expected 1 to {max}, got: {windows}")]
    Windows {
        /// The value given.
        windows: usize,
        /// The largest possible value.
        max: usize,
    },
    /// Two windows of a limiter have the same tag.
    #[error("windows: expected each window once, got one twice")]
    DuplicateWindow,
    /// The new limit needs another shape of state (another algorithm or number of sub-windows).
    #[error("algorithm: expected the window's own, since what was used could not be kept")]
    ShapeChanged,
    /// A plan has a period of its own for a window that is no token bucket.
    #[error("per: expected none, since only a token bucket has a period of its own in a plan")]
    PeriodOfPlan,
}

/// Why a limit could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The limiter or window is unknown.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The new limit cannot be kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// A call that names an unknown limiter, window or plan.
// As wide as the fields of a usage. A byte in their place in a `Result` makes the compiler copy usages in odd pieces,
// for each of which the processor waits (a tenth of a check).
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The limiter was closed, or opened again under another epoch.
    #[error("no such limiter")]
    UnknownLimiter,
    /// The limiter does not have a window with this tag.
    #[error("no such window")]
    UnknownWindow,
    /// The limiter does not have a plan with this name.
    #[error("no such plan")]
    UnknownPlan,
    /// The key has no state of its own, since there was no room for it: it is judged together with other keys, whose
    /// uses cannot be told apart.
    #[error("no state of its own")]
    NoRoom,
}
