//! A limit as a user states it.

use std::time::Duration;

use crate::clock::Nanos;
use crate::error::LimitError;

/// The default number of sub-windows.
const SUB_WINDOWS: u32 = 10;

/// A period must be shorter than this, so that sums of times stay far from overflow.
const MAX_PERIOD: Nanos = Nanos(1 << 58);

/// An amount per period, the algorithm that counts it, and whether it is enforced.
///
/// ```
/// use rate_limiter_core::Limit;
/// use std::time::Duration;
///
/// let limit = Limit::token_bucket(100, Duration::from_secs(1)).with_burst(200);
/// assert_eq!((limit.limit(), limit.capacity()), (100, 200));
/// assert!(limit.validate().is_ok());
///
/// let error = Limit::sliding_log(20_000, Duration::from_secs(1)).validate().unwrap_err();
/// assert_eq!(error.to_string(), "limit: expected at most 10000 for this algorithm, got: 20000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    amount: u64,
    per: Duration,
    algorithm: Algorithm,
    is_enforced: bool,
}

/// The algorithm that counts a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// GCRA. Admits at most `burst + span * limit / per` in any span.
    TokenBucket {
        /// The most that can be taken at once; the limit itself if not given.
        burst: Option<u64>,
    },
    /// Admits at most `limit` in any period. A key takes memory for `sub_windows + 1` counts.
    SlidingWindow {
        /// With more sub-windows the count is closer to the true window: a use counts at most one sub-window too long.
        sub_windows: u32,
    },
    /// Admits exactly `limit` in any period, up to 10,000. A key takes memory for each admitted unit.
    SlidingLog,
    /// A count that restarts each period. It admits up to twice the limit around a boundary.
    FixedWindow {
        /// Whether windows begin at multiples of the period since 1970 in UTC, or at the first use of a key.
        aligned: bool,
    },
}

impl Limit {
    /// Returns a token bucket that refills `limit` tokens per period and holds as many.
    #[must_use]
    pub const fn token_bucket(limit: u64, per: Duration) -> Self {
        Self::new(limit, per, Algorithm::TokenBucket { burst: None })
    }

    /// Returns a strict sliding window of ten sub-windows.
    #[must_use]
    pub const fn sliding_window(limit: u64, per: Duration) -> Self {
        let sub_windows = SUB_WINDOWS;
        Self::new(limit, per, Algorithm::SlidingWindow { sub_windows })
    }

    /// Returns a sliding log.
    #[must_use]
    pub const fn sliding_log(limit: u64, per: Duration) -> Self {
        Self::new(limit, per, Algorithm::SlidingLog)
    }

    /// Returns a fixed window that is aligned to the period.
    #[must_use]
    pub const fn fixed_window(limit: u64, per: Duration) -> Self {
        Self::new(limit, per, Algorithm::FixedWindow { aligned: true })
    }

    /// Returns a limit with any algorithm.
    #[must_use]
    pub const fn new(limit: u64, per: Duration, algorithm: Algorithm) -> Self {
        Self {
            amount: limit,
            per,
            algorithm,
            is_enforced: true,
        }
    }

    /// Returns the limit in shadow mode, or out of it. In shadow mode it admits each call, and counts only those that it
    /// would admit if it was enforced.
    ///
    /// ```
    /// use rate_limiter_core::{Limit, Limiter, Nanos, Options, Retry, Seed, Select};
    /// use std::time::Duration;
    ///
    /// let per = Duration::from_hours(1);
    /// let limits = [(1, Limit::fixed_window(3, per)), (2, Limit::fixed_window(1, per).enforced(false))];
    /// let (limiter, epoch) = Limiter::new(&limits, Options::default())?;
    /// let key = Seed::random().key(b"user 7");
    ///
    /// limiter.check_all(epoch, key, Select::All, 1)?;
    /// let answer = limiter.check_all(epoch, key, Select::All, 1)?;
    /// assert!(answer.allowed() && answer.usages()[1].1.would_deny());
    /// assert_eq!(answer.binding().1.remaining, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn enforced(mut self, is_enforced: bool) -> Self {
        self.is_enforced = is_enforced;
        self
    }

    /// Returns a bucket that holds `burst` tokens. Does not change other algorithms.
    #[must_use]
    pub const fn with_burst(mut self, burst: u64) -> Self {
        if let Algorithm::TokenBucket { .. } = self.algorithm {
            self.algorithm = Algorithm::TokenBucket { burst: Some(burst) };
        }
        self
    }

    /// Returns a window of so many sub-windows. Does not change other algorithms.
    #[must_use]
    pub const fn with_sub_windows(mut self, sub_windows: u32) -> Self {
        if let Algorithm::SlidingWindow { .. } = self.algorithm {
            self.algorithm = Algorithm::SlidingWindow { sub_windows };
        }
        self
    }

    /// Returns a fixed window that begins at the first use of a key. Does not change other algorithms.
    #[must_use]
    pub const fn from_first_use(mut self) -> Self {
        if let Algorithm::FixedWindow { .. } = self.algorithm {
            self.algorithm = Algorithm::FixedWindow { aligned: false };
        }
        self
    }

    /// Returns the amount per period.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.amount
    }

    /// Returns the period.
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

    /// Returns the algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns whether calls beyond the limit are denied.
    #[must_use]
    pub const fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Returns the longest time for which a use of this limit counts.
    #[must_use]
    pub fn longest_use(&self) -> Nanos {
        let per = self.per.as_nanos();
        let drain = per.saturating_mul(self.capacity().into()) / u128::from(self.amount.max(1));
        // Twice: for one sub-window more, or for what one call took at a small scale.
        let longest = per.max(drain).saturating_mul(2);
        Nanos(u64::try_from(longest).unwrap_or(u64::MAX))
    }

    /// Returns amount and period, if every algorithm can count them.
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
