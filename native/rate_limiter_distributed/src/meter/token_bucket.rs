//! The token bucket, kept as GCRA: its debt in ticks, which is how far the theoretical arrival time lies ahead.
//!
//! limit   1, unit (1 byte), interval of tokens (7), interval at this scale (7), what a full bucket holds at this scale
//!         (7), the short interval or 0 (3), bits of a grain (1)
//! value   unit (1), when it was written (7), debt (6), interval (6); or the last two of 7 bytes
//! or      short interval (3), moment and debt (9)
//!
//! The unit states how many ticks a microsecond has: 128 + n for 1000 * 2^n, 192 + n for 2^n.
//!
//! In a short value, whose 12 bytes cost some servers 16 less a key, ticks are nanoseconds. Its interval has 20 bits,
//! and 4 for a power of ten by which they are multiplied. Its moment counts in grains of 2^bits microseconds, at least
//! two intervals, and usage that drained since the grain began is still part of the debt at that moment.

use rate_limiter_core::{LimitError, Nanos, Retry, Scale, Snapshot, Usage};

use super::codec::{number, put, Codec, Portion, Query, States, MAX_COST, MAX_NUMBER};

/// A bucket uses the ticks of a local limiter if a full one drains in at most this many ticks, and tokens are at most
/// so many apart. That leaves room for a scale of 0.001.
const FINE_DRAIN: u64 = 1 << 49;
const FINE_INTERVAL: u64 = 1 << 42;

/// The most ticks in which a full bucket drains, so that the debt and the price of a call together have 53 bits.
const MAX_DRAIN: u64 = 1 << 51;

const MAX_SHIFT: u8 = 40;

/// The length of a short value.
const SHORT: usize = 12;

#[derive(Debug)]
pub(super) struct TokenBucket {
    unit: Unit,
    /// Ticks from one token to the next.
    interval: u64,
    /// Ticks in which a full bucket drains.
    drain: u64,
}

/// The length of a tick, as a state holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit(u8);

impl Unit {
    const FINE: u8 = 128;
    const COARSE: u8 = 192;

    /// `2^-shift` nanoseconds, as in a local limiter.
    fn fine(shift: u8) -> Self {
        Self(Self::FINE + shift)
    }

    /// `2^-shift` microseconds.
    fn coarse(shift: u8) -> Self {
        Self(Self::COARSE + shift)
    }

    fn exists(unit: u8) -> bool {
        [Self::FINE, Self::COARSE]
            .iter()
            .any(|first| (*first..=first + MAX_SHIFT).contains(&unit))
    }

    fn ticks_in_micro(self) -> u64 {
        if self.0 < Self::COARSE {
            1_000 << (self.0 - Self::FINE)
        } else {
            1 << (self.0 - Self::COARSE)
        }
    }

    fn nanos_ceil(self, ticks: u128) -> Nanos {
        let nanos = (ticks * 1_000).div_ceil(self.ticks_in_micro().into());
        Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl TokenBucket {
    pub(super) fn new(limit: u64, per: Nanos, burst: u64) -> Result<Self, LimitError> {
        let fine = rounded(limit, u128::from(per.0), 1, 100_000).map(|(shift, interval)| Self {
            unit: Unit::fine(shift),
            interval,
            drain: burst.saturating_mul(interval),
        });
        if let Some(fine) = fine {
            if fine.drain <= FINE_DRAIN && fine.interval <= FINE_INTERVAL {
                return Ok(fine);
            }
        }
        let Some((shift, interval)) = rounded(limit, u128::from(per.0), 1_000, 1_000) else {
            let per_ns = per.0;
            return Err(LimitError::RateTooHigh { limit, per_ns });
        };
        let drain = burst.saturating_mul(interval);
        if drain > MAX_DRAIN {
            let max = MAX_DRAIN / interval;
            return Err(LimitError::BurstTooLong { burst, max });
        }
        let unit = Unit::coarse(shift);
        Ok(Self {
            unit,
            interval,
            drain,
        })
    }

    /// Returns the short interval: 20 bits, and 4 for a power of ten. Zero if the interval has none.
    fn cell(&self) -> u32 {
        let cell = |exponent: u32| {
            let mantissa = self.interval / 10_u64.pow(exponent);
            let fits = mantissa * 10_u64.pow(exponent) == self.interval && mantissa < 1 << 20;
            let mantissa = u32::try_from(mantissa).ok().filter(|_| fits)?;
            Some(exponent << 20 | mantissa)
        };
        let cells = (0..16)
            .filter(|_| self.unit == Unit::fine(0))
            .find_map(cell);
        cells.unwrap_or(0)
    }

    /// Returns the smallest grain of at least two intervals: `2^bits` microseconds.
    fn grain_bits(&self) -> u8 {
        let fits = |bits: &u8| 1_000_u128 << bits >= 2 * u128::from(self.interval);
        (4..60).find(fits).unwrap_or(60)
    }

    /// Returns the interval of tokens at this scale, and the time in which a full bucket drains. That never becomes
    /// shorter, so that no state needs to be converted when the scale changes.
    fn at(&self, scale: Scale) -> (u64, u64) {
        let interval = scale.of_interval(self.interval).min(MAX_COST);
        (interval, self.drain.max(interval))
    }
}

impl Codec for TokenBucket {
    fn max(&self, scale: Scale) -> u64 {
        let (interval, drain) = self.at(scale);
        drain / interval
    }

    fn encode(&self, scale: Scale) -> Vec<u8> {
        let (interval, drain) = self.at(scale);
        let mut limit = vec![1, self.unit.0];
        put(&mut limit, self.interval, 7);
        put(&mut limit, interval, 7);
        put(&mut limit, drain, 7);
        put(&mut limit, self.cell().into(), 3);
        limit.push(self.grain_bits());
        limit
    }

    fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        let Snapshot::Bucket { debt } = snapshot else {
            return Vec::new();
        };
        let ticks = u128::from(debt.0) * u128::from(self.unit.ticks_in_micro());
        let ticks = u64::try_from(ticks.div_ceil(1_000)).unwrap_or(MAX_COST);
        vec![(0, ticks.min(MAX_COST))]
    }

    fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)> {
        self.answer(value, query)
    }
}

impl States for TokenBucket {
    /// The debt in ticks.
    type State = u64;

    fn decode(&self, value: Option<&[u8]>, now: u64) -> Option<u64> {
        let Some(value) = value else {
            return Some(0);
        };
        let (written, debt) = match value.len() {
            SHORT => {
                let cell = number(&value[..3]);
                if cell.is_multiple_of(1 << 20) {
                    return None;
                }
                if cell != self.cell().into() {
                    return Some(0);
                }
                // 72 bits: the moment in grains, then the debt in 20 bits more than a grain's microseconds.
                let rest = u128::from(number(&value[3..9])) << 24 | u128::from(number(&value[9..]));
                let debt_bits = 20 + self.grain_bits();
                let grains = u64::try_from(rest >> debt_bits).ok()?;
                let debt = u64::try_from(rest & ((1 << debt_bits) - 1)).ok()?;
                (grains << self.grain_bits(), debt)
            }
            size @ (20 | 22) => {
                let (written, rest) = value[1..].split_at(7);
                let (debt, interval) = rest.split_at((size - 8) / 2);
                let [written, debt, interval] = [written, debt, interval].map(number);
                let is_bounded = Unit::exists(value[0])
                    && written <= MAX_NUMBER
                    && debt <= MAX_COST
                    && (1..=MAX_NUMBER).contains(&interval);
                if !is_bounded {
                    return None;
                }
                if value[0] != self.unit.0 || interval != self.interval {
                    return Some(0);
                }
                (written, debt)
            }
            _ => return None,
        };
        let elapsed = u128::from(now.saturating_sub(written));
        let drained = elapsed * u128::from(self.unit.ticks_in_micro());
        Some(debt.saturating_sub(u64::try_from(drained).unwrap_or(u64::MAX)))
    }

    fn usage(&self, &debt: &u64, query: &Query) -> Usage {
        let (interval, drain) = self.at(query.scale);
        let price = u128::from(query.cost) * u128::from(interval);
        let after = u128::from(debt) + price;
        let retry = if query.cost == 0 || after <= u128::from(drain) {
            Retry::Now
        } else if price > u128::from(drain) {
            Retry::Never
        } else {
            Retry::After(self.unit.nanos_ceil(after - u128::from(drain)))
        };
        let left = match retry {
            // A cost of zero, or at most what the bucket holds.
            Retry::Now => u64::try_from(after).unwrap_or(debt),
            _ => debt,
        };
        let max = drain / interval;
        let remaining = drain.saturating_sub(left) / interval;
        let next_after = if remaining == max {
            Nanos(0)
        } else {
            let next = u128::from(left) + u128::from(interval) * u128::from(remaining + 1);
            self.unit.nanos_ceil(next - u128::from(drain))
        };
        Usage {
            max,
            remaining,
            next_after,
            reset_after: self.unit.nanos_ceil(left.into()),
            retry,
        }
    }

    fn snapshot(&self, &debt: &u64) -> Snapshot {
        let debt = self.unit.nanos_ceil(debt.into());
        Snapshot::Bucket { debt }
    }
}

/// Returns the interval of tokens in ticks, rounded up by at most one part of `parts`, and the shift of the coarsest
/// tick for which that is possible: a tick is `2^-shift` of a unit of so many `nanos`.
fn rounded(limit: u64, per: u128, nanos: u128, parts: u128) -> Option<(u8, u64)> {
    let wanted = u128::from(limit) * nanos;
    let intervals =
        (0..=MAX_SHIFT).map(|shift| (shift, per << shift, (per << shift).div_ceil(wanted)));
    let mut fitting =
        intervals.filter(|(_, exact, interval)| (interval * wanted - exact) * parts <= *exact);
    let (shift, _, interval) = fitting.next()?;
    Some((shift, u64::try_from(interval).ok()?))
}
