//! The strict sliding window: the amount of each sub-window by age, the present one first.
//!
//! limit   2, width (4 bytes), number of sub-windows (2), largest amount (7)
//! value   bytes a count, 1 to 4 (1), number of sub-windows (1), width (4), number of the newest sub-window (7), then
//!         the counts, from that one back, without the unused ones at the end
//!
//! The first byte is 4 more where the number of the newest sub-window has only 5 bytes. A width in microseconds has 28
//! bits, and 4 for a power of ten by which they are multiplied.

use rate_limiter_core::arithmetic::{self, Width};
use rate_limiter_core::{Nanos, Scale, Snapshot, Usage};

use super::codec::{
    nanos, number, part_of, put, Codec, MeterError, Portion, Query, States, MAX_NUMBER,
};

/// Set in the first byte where the number of the newest sub-window is short.
const SHORT: u8 = 4;

#[derive(Debug)]
pub(super) struct SlidingWindow {
    limit: u64,
    sub_windows: u32,
    /// In microseconds.
    width: Width,
}

/// The counts by age, from the present sub-window back.
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

    /// Returns the number here of a sub-window of another width: of the last one in which it can have been used.
    fn renumbered(&self, sub_window: u64, width: Nanos) -> u64 {
        if width == nanos(self.width.span) {
            return sub_window;
        }
        let last = u128::from(sub_window + 1) * u128::from(width.0);
        let number = last.saturating_sub(1) / 1_000 / u128::from(self.width.span);
        u64::try_from(number).unwrap_or(u64::MAX)
    }

    /// Returns how long a sub-window of this age still counts.
    fn expiry(&self, state: &State, age: usize, now: u64) -> Nanos {
        let age = age as u64;
        let ends = (state.present - age + u64::from(self.sub_windows) + 1) * self.width.span;
        nanos(ends - now)
    }
}

/// Returns the span of a width in microseconds, `None` for zero.
fn span_of(cell: u64) -> Option<u64> {
    let power = 10_u64.pow(u32::try_from(cell >> 28).ok()?);
    let span = (cell % (1 << 28)).saturating_mul(power);
    (span > 0).then_some(span)
}

impl Codec for SlidingWindow {
    fn max(&self, scale: Scale) -> u64 {
        scale.of_limit(self.limit).min(u32::MAX.into())
    }

    fn encode(&self, scale: Scale) -> Vec<u8> {
        let mut limit = vec![2];
        put(&mut limit, self.width.cell.into(), 4);
        put(&mut limit, self.sub_windows.into(), 2);
        put(&mut limit, self.max(scale), 7);
        limit
    }

    fn portions(&self, snapshot: &Snapshot) -> Vec<Portion> {
        let Snapshot::Window {
            width,
            newest,
            counts,
        } = snapshot
        else {
            return Vec::new();
        };
        let counts = (0..=*newest).rev().zip(counts);
        let portion = |(sub_window, &count): (u64, &u64)| {
            let number = self.renumbered(sub_window, *width);
            (number.min((1 << 53) - 1), count.min(u32::MAX.into()))
        };
        let used = counts.filter(|(_, &count)| count > 0);
        let mut portions: Vec<Portion> = used.map(portion).collect();
        portions.reverse();
        portions
    }

    fn read(&self, value: Option<&[u8]>, query: &Query) -> Option<(Usage, Snapshot)> {
        self.answer(value, query)
    }
}

impl States for SlidingWindow {
    type State = State;

    fn decode(&self, value: Option<&[u8]>, now: u64) -> Option<State> {
        let present = now / self.width.span;
        let mut counts = Vec::new();
        if let Some(value) = value {
            let first = *value.first()?;
            let (size, head) = if first > SHORT {
                (first - SHORT, 11)
            } else {
                (first, 13)
            };
            let (head, stored) = value.split_at_checked(head)?;
            let (sub_windows, newest) = (u64::from(head[1]), number(&head[6..]));
            let fits = newest <= MAX_NUMBER / span_of(number(&head[2..6]))?;
            if !(1..=4).contains(&size) || stored.len() % usize::from(size) != 0 {
                return None;
            }
            let stored_counts = (stored.len() / usize::from(size)) as u64;
            // No sub-window lies before 1970.
            let is_bounded = (1..=sub_windows.min(newest) + 1).contains(&stored_counts);
            if !is_bounded || sub_windows == 0 || !fits {
                return None;
            }
            if u32::from(head[1]) == self.sub_windows
                && number(&head[2..6]) == self.width.cell.into()
            {
                let age = present.checked_sub(newest)?;
                let kept = self.sub_windows as usize + 1;
                counts.resize(kept.min(usize::try_from(age).unwrap_or(kept)), 0);
                counts.extend(stored.chunks(size.into()).map(number));
                counts.truncate(kept);
            }
        }
        Some(State { present, counts })
    }

    fn usage(&self, state: &State, query: &Query) -> Usage {
        let Query { now, cost, .. } = *query;
        let used = state.counts.iter().sum();
        let wait = |amount| {
            // Never more is asked for than is counted.
            let age = arithmetic::last_to_leave(&state.counts, amount).unwrap_or(0);
            self.expiry(state, age, now)
        };
        let reset_after = |taken| {
            let newest = state.counts.iter().position(|&count| count > 0);
            let newest = if taken { Some(0) } else { newest };
            newest.map_or(Nanos(0), |age| self.expiry(state, age, now))
        };
        arithmetic::usage(self.max(query.scale), used, cost, wait, reset_after)
    }

    fn snapshot(&self, state: &State) -> Snapshot {
        Snapshot::Window {
            width: nanos(self.width.span),
            newest: state.present,
            counts: state.counts.clone(),
        }
    }
}
