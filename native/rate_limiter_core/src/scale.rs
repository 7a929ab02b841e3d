//! The factor that adaptation puts on a limiter, in parts per million.

/// Parts per million of the configured limit. Never zero, so that a limit can breathe but not die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scale(u32);

impl Scale {
    /// The configured limit itself.
    pub const ONE: Self = Self(1_000_000);

    /// `ppm` parts per million, at least 1.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm == 0 { 1 } else { ppm })
    }

    /// Parts per million.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// `limit` at this scale, rounded down, at least 1.
    #[inline]
    #[must_use]
    pub fn of_limit(self, limit: u64) -> u64 {
        if self == Self::ONE {
            return limit;
        }
        let scaled = u128::from(limit) * u128::from(self.0) / 1_000_000;
        u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
    }

    /// The emission interval at this scale, rounded up: a smaller limit means tokens further apart.
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
