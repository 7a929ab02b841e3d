//! The token bucket as GCRA: one theoretical arrival time instead of a level and a timestamp.
//!
//! After the Generic Cell Rate Algorithm of the ATM Forum (Traffic Management Specification 4.0, section 4.4.2,
//! virtual scheduling). A bucket of `burst` tokens that refills one token every `interval` is empty when the
//! theoretical arrival time (`tat`) lies `burst * interval` ahead, and full when `tat` has passed. The cost that it
//! admits in any span `d` is at most `burst + d / interval`. How far `tat` lies ahead is the debt of the bucket.
//!
//! A state is two words. Word 0 is `tat` in whole nanoseconds. Word 1 is the [`EmissionInterval`] under which it was
//! written, and the fraction of a nanosecond of `tat`, so that a change of the limit can convert the debt.

mod snapshot;

pub(crate) use snapshot::converted;

use crate::clock::Nanos;
use crate::error::LimitError;
use crate::scale::Scale;
use crate::verdict::{Retry, Usage};

/// Words of state.
pub(crate) const WORDS: usize = 2;

/// A full bucket fills in at most this many ticks (146 years of nanoseconds), so that sums stay far from overflow.
const MAX_DRAIN: u64 = 1 << 62;

/// A debt up to here, together with the price of any call that can be admitted, fits a word.
const MAX_DEBT: u64 = u64::MAX - MAX_DRAIN;

const SHIFT_BITS: u32 = 6;
const FINE_INTERVAL_BITS: u32 = 18;
const FRACTION_AT: u32 = SHIFT_BITS + FINE_INTERVAL_BITS;
const MAX_SHIFT: u32 = u64::BITS - FRACTION_AT;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    emission: EmissionInterval,
    /// The interval as a state holds it.
    packed: u64,
    /// What a full bucket holds, in ticks.
    bucket: u64,
    burst: u64,
}

/// The time between two tokens, in ticks of `2^-shift` nanoseconds.
///
/// The shift is the smallest that keeps the rounding (up: towards admitting less) within 0.001 %. Slow rates count in
/// whole nanoseconds, a million a second in 1/128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EmissionInterval {
    ticks: u64,
    shift: u32,
}

impl EmissionInterval {
    fn new(limit: u64, per: Nanos) -> Result<Self, LimitError> {
        let (limit_wide, per_wide) = (u128::from(limit), u128::from(per.0));
        for shift in 0..=MAX_SHIFT {
            let exact = per_wide << shift;
            let interval = exact.div_ceil(limit_wide);
            if (interval * limit_wide - exact) * 100_000 > exact {
                continue;
            }
            // At most the period, which `Limit` keeps below 2^58; or below 2^18 where there is a shift.
            let interval = u64::try_from(interval).unwrap_or(u64::MAX);
            return Ok(Self {
                ticks: interval,
                shift,
            });
        }
        Err(LimitError::RateTooHigh {
            limit,
            per_ns: per.0,
        })
    }

    /// Returns word 1 of a state, with `fraction` ticks of a nanosecond.
    ///
    /// With a shift, the interval has at most 18 bits (it was below 100,000 one shift earlier), and the fraction has
    /// `shift` <= 40. Without a shift there is no fraction, and the interval has all of the other 58 bits.
    #[inline]
    fn pack(self, fraction: u64) -> u64 {
        fraction << FRACTION_AT | self.ticks << SHIFT_BITS | u64::from(self.shift)
    }

    /// Returns the bits of word 1 that hold the interval.
    const fn mask(shift: u32) -> u64 {
        if shift == 0 {
            u64::MAX
        } else {
            (1 << FRACTION_AT) - 1
        }
    }

    #[inline]
    fn unpack(word: u64) -> (Self, u64) {
        let shift = (word & ((1 << SHIFT_BITS) - 1)) as u32;
        let mask = Self::mask(shift);
        let interval = (word & mask) >> SHIFT_BITS;
        (
            Self {
                ticks: interval,
                shift,
            },
            (word & !mask) >> FRACTION_AT,
        )
    }

    /// Converts ticks to nanoseconds, rounded up.
    #[inline]
    fn nanos_ceil(self, ticks: u64) -> Nanos {
        let whole = ticks >> self.shift;
        Nanos(whole + u64::from(whole << self.shift != ticks))
    }

    /// As `nanos_ceil`, for more ticks than a word can count.
    fn nanos_ceil_wide(self, ticks: u128) -> Nanos {
        Nanos(u64::try_from(ticks.div_ceil(1 << self.shift)).unwrap_or(u64::MAX))
    }

    /// Returns the debt of a state that was written with this interval, of which `tat` lies `ahead`. The largest value
    /// stands for a debt that does not fit, since the clock was set back.
    #[inline]
    fn ticks(self, ahead: u64, fraction: u64) -> u64 {
        let ticks = ahead << self.shift;
        if ticks >> self.shift == ahead {
            ticks | fraction
        } else {
            u64::MAX
        }
    }
}

impl Gcra {
    pub(crate) fn new(limit: u64, per: Nanos, burst: u64) -> Result<Self, LimitError> {
        if burst == 0 {
            return Err(LimitError::ZeroBurst);
        }
        let emission = EmissionInterval::new(limit, per)?;
        let bucket = u128::from(emission.ticks) * u128::from(burst);
        match u64::try_from(bucket) {
            Ok(bucket) if bucket <= MAX_DRAIN => Ok(Self {
                emission,
                packed: emission.pack(0),
                bucket,
                burst,
            }),
            _ => Err(LimitError::BurstTooLong {
                burst,
                max: MAX_DRAIN / emission.ticks,
            }),
        }
    }

    /// Returns the answer to `cost` now, and the debt in ticks after it was taken.
    #[inline]
    fn judge(&self, state: &[u64], now: Nanos, cost: u64, scale: Scale) -> (Usage, u64) {
        let debt = self.debt(state, now);
        if debt > MAX_DEBT {
            return (self.judge_far(state, now, cost, scale), debt);
        }
        let (interval, bucket, max) = self.at(scale);
        let retry = match cost.checked_mul(interval) {
            _ if cost == 0 => Retry::Now,
            Some(price) if price <= bucket => {
                let after = debt.saturating_add(price);
                if after <= bucket {
                    let usage = self.usage(after, interval, bucket, max, Retry::Now);
                    return (usage, after);
                }
                Retry::After(self.emission.nanos_ceil(after - bucket))
            }
            _ => Retry::Never,
        };
        (self.usage(debt, interval, bucket, max, retry), debt)
    }

    /// As `judge`, for a debt that a word may not hold: the clock was set back far, or a large debt was converted.
    #[cold]
    fn judge_far(&self, state: &[u64], now: Nanos, cost: u64, scale: Scale) -> Usage {
        let debt = self.exact_debt(state, now);
        let (interval, bucket, max) = self.at(scale);
        let until = |price: u64| {
            let excess = debt + u128::from(price) - u128::from(bucket);
            self.emission.nanos_ceil_wide(excess)
        };
        let retry = match cost.checked_mul(interval) {
            _ if cost == 0 => Retry::Now,
            Some(price) if price <= bucket => Retry::After(until(price)),
            _ => Retry::Never,
        };
        Usage {
            max,
            remaining: 0,
            next_after: until(interval),
            reset_after: self.emission.nanos_ceil_wide(debt),
            retry,
        }
    }

    #[inline]
    pub(crate) fn decide(&self, state: &[u64], now: Nanos, cost: u64, scale: Scale) -> Usage {
        self.judge(state, now, cost, scale).0
    }

    /// Takes `cost` if it is admitted. Otherwise only renews the state.
    #[inline]
    pub(crate) fn take(&self, state: &mut [u64], now: Nanos, cost: u64, scale: Scale) -> Usage {
        let (usage, debt) = self.judge(state, now, cost, scale);
        if usage.allowed() && cost > 0 {
            self.write(state, now, debt);
        } else {
            self.renew(state, now);
        }
        usage
    }

    /// Returns `cost` tokens to the bucket, each at the configured interval: a token that was taken at a smaller scale,
    /// so at a higher price, is returned at the price of full scale. Never above full.
    pub(crate) fn refund(&self, state: &mut [u64], now: Nanos, cost: u64) {
        let debt = self.exact_debt(state, now);
        if debt > 0 {
            let worth = u128::from(cost) * u128::from(self.emission.ticks);
            self.write_wide(state, now, debt.saturating_sub(worth));
        }
    }

    /// Returns tokens of one call. What has drained since the call counts as its own: only so is it certain that no token
    /// is returned that was used meanwhile, whatever other calls took and got back.
    pub(crate) fn give_back(&self, state: &mut [u64], now: Nanos, at: Nanos, left: u64, cost: u64) {
        let price = |units: u64| u128::from(units) * u128::from(self.emission.ticks);
        let drained = u128::from(now.saturating_sub(at).0) << self.emission.shift;
        let back = price(left).saturating_sub(drained).min(price(cost));
        let debt = self.exact_debt(state, now);
        if debt > 0 && back > 0 {
            self.write_wide(state, now, debt.saturating_sub(back));
        }
    }

    /// Converts the debt after a change of the limit, once, so that it drains at this rate from now on.
    #[inline]
    pub(crate) fn renew(&self, state: &mut [u64], now: Nanos) {
        if state[1] != 0 && !self.wrote(state[1]) {
            match self.exact_debt(state, now) {
                0 => state.fill(0),
                debt => self.write_wide(state, now, debt),
            }
        }
    }

    /// Returns whether the state is one of this rate.
    pub(crate) fn wrote_state(&self, state: &[u64]) -> bool {
        state[1] == 0 || self.wrote(state[1])
    }

    #[inline]
    pub(crate) fn is_idle(state: &[u64], now: Nanos) -> bool {
        let (_, fraction) = EmissionInterval::unpack(state[1]);
        state[0] < now.0 || (state[0] == now.0 && fraction == 0)
    }

    /// Returns how far `tat` lies ahead, in ticks.
    #[inline]
    fn debt(&self, state: &[u64], now: Nanos) -> u64 {
        let (tat, word) = (state[0], state[1]);
        if tat < now.0 || word == 0 {
            return 0;
        }
        if self.wrote(word) {
            let mask = EmissionInterval::mask(self.emission.shift);
            self.emission
                .ticks(tat - now.0, (word & !mask) >> FRACTION_AT)
        } else {
            u64::try_from(self.exact_debt(state, now)).unwrap_or(u64::MAX)
        }
    }

    /// Returns whether word 1 of a state holds this interval.
    #[inline]
    fn wrote(&self, word: u64) -> bool {
        word & EmissionInterval::mask(self.emission.shift) == self.packed
    }

    /// As `debt`, also if a word cannot hold it. A debt that was written with another interval is as many tokens with
    /// this one, rounded up.
    #[cold]
    fn exact_debt(&self, state: &[u64], now: Nanos) -> u128 {
        let (tat, word) = (state[0], state[1]);
        if tat < now.0 || word == 0 {
            return 0;
        }
        let (written, fraction) = EmissionInterval::unpack(word);
        let debt = u128::from(tat - now.0) << written.shift | u128::from(fraction);
        if written == self.emission {
            return debt;
        }
        // A product that does not fit (of fine ticks and an interval of months) is a debt beyond the last moment, too.
        let product = debt.checked_mul(u128::from(self.emission.ticks));
        let end = u128::from(u64::MAX - now.0) << self.emission.shift;
        product.map_or(end, |product| {
            product.div_ceil(u128::from(written.ticks)).min(end)
        })
    }

    #[inline]
    fn write(&self, state: &mut [u64], now: Nanos, debt: u64) {
        let nanos = debt >> self.emission.shift;
        let fraction = debt ^ nanos << self.emission.shift;
        state[0] = now.0.saturating_add(nanos);
        state[1] = self.packed | fraction << FRACTION_AT;
    }

    /// As `write`, for a debt of `exact_debt`.
    fn write_wide(&self, state: &mut [u64], now: Nanos, debt: u128) {
        let nanos = debt >> self.emission.shift;
        // Less than a nanosecond.
        let fraction = u64::try_from(debt ^ nanos << self.emission.shift).unwrap_or(0);
        state[0] = now
            .0
            .saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX));
        state[1] = self.emission.pack(fraction);
    }

    /// Returns interval, bucket and maximum at `scale`. The bucket in ticks never shrinks: fewer, wider tokens fit into
    /// it. So no state is rewritten, and no token appears, when the scale changes.
    #[inline]
    fn at(&self, scale: Scale) -> (u64, u64, u64) {
        if scale == Scale::ONE {
            return (self.emission.ticks, self.bucket, self.burst);
        }
        // Capped, so that the sum of a debt and a price never saturates: that would look like room.
        let interval = scale.of_interval(self.emission.ticks).min(MAX_DRAIN);
        let bucket = self.bucket.max(interval);
        (interval, bucket, bucket / interval)
    }

    #[inline]
    fn usage(&self, debt: u64, interval: u64, bucket: u64, max: u64, retry: Retry) -> Usage {
        let remaining = bucket.saturating_sub(debt) / interval;
        let next_after = if remaining == max {
            Nanos(0)
        } else {
            // One more unit fits into the bucket, and the debt is at most `MAX_DEBT`.
            let next = (remaining + 1) * interval;
            self.emission.nanos_ceil(debt + next - bucket)
        };
        Usage {
            max,
            remaining,
            next_after,
            reset_after: self.emission.nanos_ceil(debt),
            retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_rate_and_a_fraction_come_back_from_the_word_that_they_were_put_in(
            limit in prop_oneof![1..=u64::MAX, 1..=2_000_000_000_u64, Just(1)],
            per in prop_oneof![1..1_u64 << 58, Just(1_000_000_000), Just((1 << 58) - 1)],
            fraction in any::<u64>(),
        ) {
            if let Ok(rate) = EmissionInterval::new(limit, Nanos(per)) {
                let fraction = fraction & ((1 << rate.shift) - 1);
                prop_assert_eq!(EmissionInterval::unpack(rate.pack(fraction)), (rate, fraction));
                prop_assert!(rate.pack(fraction) != 0);
            }
        }

        #[test]
        fn a_debt_is_written_as_it_is_read(
            limit in 1..=2_000_000_000_u64,
            burst in 1..=1_000_000_u64,
            now in 0..1_u64 << 62,
            share in 0..=1_000_u64,
        ) {
            if let Ok(gcra) = Gcra::new(limit, Nanos(1_000_000_000), burst) {
                let debt = gcra.bucket / 1_000 * share;
                let (mut narrow, mut wide) = ([0; WORDS], [0; WORDS]);
                gcra.write(&mut narrow, Nanos(now), debt);
                gcra.write_wide(&mut wide, Nanos(now), debt.into());
                prop_assert_eq!(narrow, wide);
                prop_assert_eq!(gcra.debt(&narrow, Nanos(now)), debt);
                prop_assert_eq!(gcra.exact_debt(&narrow, Nanos(now)), u128::from(debt));
                prop_assert_eq!(Gcra::is_idle(&narrow, Nanos(now)), debt == 0);
            }
        }
    }

    #[test]
    fn ticks_are_whole_nanoseconds_where_those_are_fine_enough() {
        let shift = |limit| {
            let rate =
                EmissionInterval::new(limit, Nanos(1_000_000_000)).expect("a rate that is kept");
            rate.shift
        };
        assert_eq!([1, 100, 9_999, 1_000_000].map(shift), [0, 0, 0, 0]);
        assert_eq!(shift(999_999), 7);
        assert_eq!(shift(3_000_000_000), 17);
    }
}
