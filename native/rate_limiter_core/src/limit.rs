//! A limit as a person states it.

use std::time::Duration;

use crate::clock::Nanos;
use crate::error::LimitError;

/// Sub-windows of a sliding window where nothing else is said.
const SUB_WINDOWS: u32 = 10;

/// A period must be shorter than this, so that sums of times stay far from overflow.
const MAX_PERIOD: Nanos = Nanos(1 << 58);

/// So much in so long, and how it is counted.
///
/// ```
/// use rate_limiter_core::Limit;
/// use std::time::Duration;
///
/// let limit = Limit::token_bucket(100, Duration::from_secs(1)).with_burst(200);
/// assert_eq!(limit.limit(), 100);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    amount: u64,
    per: Duration,
    algorithm: Algorithm,
}

/// How a limit is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// GCRA. Admits at most `burst + span * limit / per` in any span.
    TokenBucket {
        /// What can be taken at once; the limit itself if not given.
        burst: Option<u64>,
    },
    /// Never more than `limit` in any window of the period, in memory for `sub_windows + 1` counts.
    SlidingWindow {
        /// More of them follow the true window more closely: a use counts at most one sub-window too long.
        sub_windows: u32,
    },
    /// The same, exactly, in memory for each admitted unit; up to a limit of 10,000.
    SlidingLog,
    /// A count that starts again; up to twice the limit can pass around a boundary.
    FixedWindow {
        /// At multiples of the period since 1970 in UTC, or else from a key's first use.
        aligned: bool,
    },
}

impl Limit {
    /// A token bucket that refills `limit` tokens per period and holds as many.
    #[must_use]
    pub const fn token_bucket(limit: u64, per: Duration) -> Self {
        Self::new(limit, per, Algorithm::TokenBucket { burst: None })
    }

    /// A strict sliding window of ten sub-windows.
    #[must_use]
    pub const fn sliding_window(limit: u64, per: Duration) -> Self {
        let sub_windows = SUB_WINDOWS;
        Self::new(limit, per, Algorithm::SlidingWindow { sub_windows })
    }

    /// A sliding log.
    #[must_use]
    pub const fn sliding_log(limit: u64, per: Duration) -> Self {
        Self::new(limit, per, Algorithm::SlidingLog)
    }

    /// A fixed window aligned to the period.
    #[must_use]
    pub const fn fixed_window(limit: u64, per: Duration) -> Self {
        Self::new(limit, per, Algorithm::FixedWindow { aligned: true })
    }

    /// Any of them.
    #[must_use]
    pub const fn new(limit: u64, per: Duration, algorithm: Algorithm) -> Self {
        Self {
            amount: limit,
            per,
            algorithm,
        }
    }

    /// A bucket that holds `burst` tokens. Other algorithms have none, and are left as they are.
    #[must_use]
    pub const fn with_burst(mut self, burst: u64) -> Self {
        if let Algorithm::TokenBucket { .. } = self.algorithm {
            self.algorithm = Algorithm::TokenBucket { burst: Some(burst) };
        }
        self
    }

    /// A window cut into `sub_windows`. Other algorithms have none, and are left as they are.
    #[must_use]
    pub const fn with_sub_windows(mut self, sub_windows: u32) -> Self {
        if let Algorithm::SlidingWindow { .. } = self.algorithm {
            self.algorithm = Algorithm::SlidingWindow { sub_windows };
        }
        self
    }

    /// A fixed window that begins at a key's first use. Other algorithms are left as they are.
    #[must_use]
    pub const fn from_first_use(mut self) -> Self {
        if let Algorithm::FixedWindow { .. } = self.algorithm {
            self.algorithm = Algorithm::FixedWindow { aligned: false };
        }
        self
    }

    /// How much.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.amount
    }

    /// In how long.
    #[must_use]
    pub const fn per(&self) -> Duration {
        self.per
    }

    /// Returns the most that can be taken at once: the burst of a token bucket, which is the limit if not given, or the
    /// limit of another algorithm.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket { burst: Some(burst) } => burst,
            _ => self.amount,
        }
    }

    /// How it is counted.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Limit and period, if they can be counted at all.
    pub(crate) fn checked(&self) -> Result<(u64, Nanos), LimitError> {
        let per = Nanos::from(self.per);
        if self.amount == 0 {
            Err(LimitError::ZeroLimit)
        } else if per.0 == 0 {
            Err(LimitError::ZeroPeriod)
        } else if per >= MAX_PERIOD {
            Err(LimitError::PeriodTooLong { per_ns: per.0 })
        } else {
            Ok((self.amount, per))
        }
    }
}
