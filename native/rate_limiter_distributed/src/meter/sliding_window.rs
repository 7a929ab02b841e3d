//! The strict sliding window: see `lua/sliding_window.lua`.

use rate_limiter_core::{Nanos, Retry, Scale, Snapshot, Usage};

use super::{nanos, number, part_of, put, Count, MeterError, Portion, Query};

/// Set in the first byte where the number of the newest sub-window has two bytes less.
const SHORT: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlidingWindow {
    limit: u64,
    sub_windows: u32,
    width: Width,
}

/// The length of a sub-window, as a state says it: 28 bits, and 4 for a power of ten. So it is exact for what people
/// call a period, and else rounded up by at most 0.000004 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    cell: u32,
    micros: u64,
}

impl Width {
    const MANTISSA_BITS: u32 = 28;

    fn at_least(micros: u64) -> Self {
        let (mut exponent, mut mantissa) = (0, micros);
        while mantissa >> Self::MANTISSA_BITS != 0 {
            exponent += 1;
            mantissa = micros.div_ceil(10_u64.pow(exponent));
        }
        Self {
            // At most 28 bits by the choice of the exponent.
            cell: u32::try_from(mantissa).unwrap_or(u32::MAX) | exponent << Self::MANTISSA_BITS,
            micros: mantissa * 10_u64.pow(exponent),
        }
    }
}

/// What each sub-window has counted, by age: the present one first.
pub(super) struct State {
    present: u64,
    counts: Vec<u64>,
}

impl SlidingWindow {
    pub(super) fn new(limit: u64, per: Nanos, sub_windows: u32) -> Result<Self, MeterError> {
        let width = Width::at_least(part_of(per, sub_windows)?);
        Ok(Self {
            limit,
            sub_windows,
            width,
        })
    }

    pub(super) fn max(&self, scale: Scale) -> u64 {
        scale.of_limit(self.limit).min(u32::MAX.into())
    }

    pub(super) fn argument(&self, scale: Scale) -> Vec<u8> {
        let mut argument = vec![2];
        put(&mut argument, self.width.cell.into(), 4);
        put(&mut argument, self.sub_windows.into(), 2);
        put(&mut argument, self.max(scale), 7);
        argument
    }

    /// By number of sub-window; under another width, of the one in which it can last have been used.
    pub(super) fn portions(&self, width: Nanos, newest: u64, counts: &[u64]) -> Vec<Portion> {
        let used = (0..=newest)
            .rev()
            .zip(counts)
            .filter(|(_, &count)| count > 0);
        let here = |sub_window: u64| {
            if width == nanos(self.width.micros) {
                return sub_window;
            }
            let last = u128::from(sub_window + 1) * u128::from(width.0);
            let number = last.saturating_sub(1) / 1_000 / u128::from(self.width.micros);
            u64::try_from(number).unwrap_or(u64::MAX)
        };
        let portion = |(sub_window, &count): (u64, &u64)| {
            (
                here(sub_window).min((1 << 53) - 1),
                count.min(u32::MAX.into()),
            )
        };
        let mut portions: Vec<Portion> = used.map(portion).collect();
        portions.reverse();
        portions
    }

    /// How long until a sub-window of this age is no longer counted.
    fn expiry(&self, state: &State, age: usize, now: u64) -> Nanos {
        let ends =
            (state.present - age as u64 + u64::from(self.sub_windows) + 1) * self.width.micros;
        nanos(ends - now)
    }

    /// How long until `needed` of what is counted has left the window.
    fn freed(&self, state: &State, needed: u64, now: u64) -> Nanos {
        let mut left = 0;
        let ages = state.counts.iter().enumerate().rev();
        let until = ages.map(|(age, count)| {
            left += count;
            (age, left)
        });
        // Not more is needed than is counted.
        let age = until
            .filter(|(_, left)| *left >= needed)
            .map(|(age, _)| age)
            .next();
        self.expiry(state, age.unwrap_or(0), now)
    }
}

impl Count for SlidingWindow {
    type State = State;

    fn read(&self, value: Option<&[u8]>, now: u64) -> Option<State> {
        let present = now / self.width.micros;
        let mut counts = Vec::new();
        if let Some(value) = value {
            let first = *value.first()?;
            let (size, head) = if first > SHORT {
                (first - SHORT, 11)
            } else {
                (first, 13)
            };
            let (head, stored) = value.split_at_checked(head)?;
            if !(1..=4).contains(&size) {
                return None;
            }
            if u32::from(head[1]) == self.sub_windows
                && number(&head[2..6]) == self.width.cell.into()
            {
                let age = present.checked_sub(number(&head[6..]))?;
                let kept = self.sub_windows as usize + 1;
                counts.resize(kept.min(usize::try_from(age).unwrap_or(kept)), 0);
                counts.extend(stored.chunks(size.into()).map(number));
                counts.truncate(kept);
            }
        }
        Some(State { present, counts })
    }

    fn usage(&self, state: &State, ask: &Query) -> Usage {
        let (max, cost) = (self.max(ask.scale), ask.cost);
        let used: u64 = state.counts.iter().sum();
        let fits = cost <= max && used + cost <= max;
        let retry = if cost == 0 || fits {
            Retry::Now
        } else if cost > max {
            Retry::Never
        } else {
            Retry::After(self.freed(state, used + cost - max, ask.now))
        };
        let taken = if fits { cost } else { 0 };
        let newest = state.counts.iter().position(|&count| count > 0);
        let newest = if taken > 0 { Some(0) } else { newest };
        Usage {
            max,
            remaining: max.saturating_sub(used + taken),
            reset_after: newest.map_or(Nanos(0), |age| self.expiry(state, age, ask.now)),
            retry,
        }
    }

    fn snapshot(&self, state: &State) -> Snapshot {
        Snapshot::Window {
            width: nanos(self.width.micros),
            newest: state.present,
            counts: state.counts.clone(),
        }
    }
}
