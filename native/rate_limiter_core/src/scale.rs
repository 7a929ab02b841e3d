//! The factor by which adaptation changes the limits of a limiter.

/// A factor in parts per million of the configured limit. Never zero, so a scale cannot block a limit.
///
/// ```
/// use rate_limiter_core::Scale;
///
/// assert_eq!(Scale::from_ppm(500_000).of_limit(100), 50);
/// assert_eq!(Scale::from_ppm(1).of_limit(100), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scale(u32);

impl Scale {
    /// The configured limit itself.
    pub const ONE: Self = Self(1_000_000);

    /// Returns a scale of `ppm` parts per million, at least 1.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm == 0 { 1 } else { ppm })
    }

    /// Returns the parts per million.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// Returns `limit` at this scale, rounded down, at least 1.
    #[inline]
    #[must_use]
    pub fn of_limit(self, limit: u64) -> u64 {
        if self == Self::ONE {
            return limit;
        }
        let scaled = u128::from(limit) * u128::from(self.0) / 1_000_000;
        u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
    }

    /// Returns the emission interval at this scale, rounded up: the tokens of a smaller limit are further apart.
    #[inline]
    #[must_use]
    pub fn of_interval(self, interval: u64) -> u64 {
        if self == Self::ONE {
            return interval;
        }
        let scaled = (u128::from(interval) * 1_000_000).div_ceil(u128::from(self.0));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}
