//! The token bucket as a bucket: what it lacks to be full, as a time, at a moment.

use rate_limiter_core::{Algorithm, Limit, Nanos, Retry, Usage};

use super::{per_nanos, ONE};

/// Times are counted in this many parts of a nanosecond (as a power of two): the finest tick that a limit can have.
const FINE: u32 = 40;

/// One token takes at most this many ticks, at any scale: 146 years of nanoseconds.
const LONGEST: u128 = 1 << 62;

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    burst: u64,
    /// The debt at a moment. A key that never took has no debt, whatever the clock does.
    debt: Option<(u128, u128)>,
}

/// The time between two tokens: so many ticks of `2^-shift` nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    ticks: u128,
    shift: u32,
}

impl Rate {
    /// The coarsest tick in which rounding up makes the rate at most 0.001 % smaller.
    pub(crate) fn new(limit: &Limit) -> Self {
        let (amount, per) = (u128::from(limit.limit()), u128::from(per_nanos(limit)));
        let rounded = |shift: u32| (per << shift).div_ceil(amount);
        let shift = (0..=FINE)
            .find(|&shift| (rounded(shift) * amount - (per << shift)) * 100_000 <= per << shift)
            .expect("a rate that a limit can have");
        Self {
            ticks: rounded(shift),
            shift,
        }
    }

    /// In fine parts of a nanosecond.
    fn fine(self, ticks: u128) -> u128 {
        ticks << (FINE - self.shift)
    }

    /// The time between two tokens at a scale, in fine parts.
    fn interval(self, ppm: u32) -> u128 {
        let ticks = (self.ticks * u128::from(ONE)).div_ceil(u128::from(ppm));
        self.fine(ticks.min(LONGEST))
    }
}

impl Bucket {
    pub(crate) fn new(limit: &Limit) -> Self {
        let Algorithm::TokenBucket { burst } = limit.algorithm() else {
            panic!("expected a token bucket, got: {limit:?}");
        };
        Self {
            rate: Rate::new(limit),
            burst: burst.unwrap_or(limit.limit()),
            debt: None,
        }
    }

    /// The debt is as many tokens after the change as before, rounded up to a tick.
    pub(crate) fn touch(&mut self, limit: &Limit, now: u64) {
        let old = std::mem::replace(self, Self::new(limit));
        if old.rate == self.rate {
            self.debt = old.debt;
        } else if let debt @ 1.. = old.owed(now) {
            let tick = self.rate.fine(1);
            let (to, from) = (self.rate.interval(ONE), old.rate.interval(ONE));
            let debt = multiplied_and_divided(debt, to / tick, from).saturating_mul(tick);
            // Times saturate at the last one.
            let debt = debt.min(fine(u64::MAX - now));
            self.debt = Some((debt, fine(now)));
        }
    }

    /// The time until the bucket is full, in fine parts. A clock that was set back makes it longer.
    pub(crate) fn owed(&self, now: u64) -> u128 {
        let (debt, at) = self.debt.unwrap_or((0, 0));
        (debt + at).saturating_sub(fine(now))
    }

    pub(crate) fn ask(&self, now: u64, cost: u64, ppm: u32) -> Usage {
        let interval = self.rate.interval(ppm);
        let holds = self.holds(ppm);
        let owed = self.owed(now);
        let price = u128::from(cost).saturating_mul(interval);
        let retry = if cost == 0 || owed.saturating_add(price) <= holds {
            Retry::Now
        } else if price > holds {
            Retry::Never
        } else {
            Retry::After(whole(owed + price - holds))
        };
        let after = match retry {
            Retry::Now => owed + price,
            _ => owed,
        };
        let max = holds / interval;
        let remaining = holds.saturating_sub(after) / interval;
        // One more unit is left once the debt leaves room for it.
        let room_for_next = holds.saturating_sub((remaining + 1) * interval);
        let next = if remaining < max {
            after - room_for_next
        } else {
            0
        };
        Usage {
            max: u64::try_from(max).expect("at most the burst"),
            remaining: u64::try_from(remaining).expect("at most max"),
            next_after: whole(next),
            reset_after: whole(after),
            retry,
        }
    }

    pub(crate) fn take(&mut self, now: u64, cost: u64, ppm: u32) {
        let debt = self.owed(now) + u128::from(cost) * self.rate.interval(ppm);
        self.debt = Some((debt, fine(now)));
    }

    /// A refund counts at full scale, whatever the scale of the take.
    pub(crate) fn refund(&mut self, now: u64, cost: u64) {
        let owed = self.owed(now);
        if owed > 0 {
            let worth = u128::from(cost).saturating_mul(self.rate.interval(ONE));
            let left = owed.saturating_sub(worth);
            self.debt = Some((left, fine(now)));
        }
    }

    pub(crate) fn used(&self, now: u64) -> u64 {
        let tokens = self.owed(now).div_ceil(self.rate.interval(ONE));
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    pub(crate) fn bound(&mut self, now: u64, most: u64) {
        let owed = self.owed(now);
        if owed > 0 {
            let bound = u128::from(most) * self.rate.interval(ONE);
            self.debt = Some((owed.min(bound), fine(now)));
        }
    }

    /// A full bucket, in fine parts: not scaled, but enough for one token.
    fn holds(&self, ppm: u32) -> u128 {
        (u128::from(self.burst) * self.rate.interval(ONE)).max(self.rate.interval(ppm))
    }
}

fn fine(nanos: u64) -> u128 {
    u128::from(nanos) << FINE
}

/// Rounded up to whole nanoseconds.
fn whole(fine: u128) -> Nanos {
    Nanos(u64::try_from(fine.div_ceil(1 << FINE)).unwrap_or(u64::MAX))
}

/// `a * b / c`, rounded up, by long division in binary: the product may have more than 128 bits.
fn multiplied_and_divided(a: u128, b: u128, c: u128) -> u128 {
    let (mut quotient, mut rest) = (0_u128, 0_u128);
    for bit in (0..u128::BITS).rev() {
        rest = 2 * rest + (a >> bit & 1) * b;
        // More than any bucket holds.
        quotient = quotient.saturating_mul(2).saturating_add(rest / c);
        rest %= c;
    }
    quotient.saturating_add(u128::from(rest > 0))
}
