//! The strict sliding window: never more than `limit` in any window of the period, in bounded memory.
//!
//! Time is cut into sub-windows of a `k`-th of the period. What is used is the sum of the present one and of the `k`
//! before it, the oldest counted whole although only a part of it may still lie in the window: so the count is never
//! too low, and a use counts at most a sub-window longer than it should.
//!
//! A state is a row of 32-bit cells: the number of the newest sub-window (two cells), the width under which it was
//! written, and `k + 1` counts, the newest first.

mod travel;

use crate::clock::Nanos;
use crate::error::LimitError;
use crate::scale::Scale;
use crate::verdict::{Retry, Usage};

/// More sub-windows than this sharpen nothing that could be noticed (0.8 % of the period), and cost memory a key.
pub(crate) const MAX_SUB_WINDOWS: u32 = 120;

const WIDTH: usize = 2;
const COUNTS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlidingWindow {
    limit: u32,
    sub_windows: u32,
    width: Width,
}

/// The length of a sub-window, as a 28-bit mantissa and a 4-bit exponent of ten, so that a state can carry it in one
/// cell: exact for whole seconds, minutes, hours and days, and otherwise rounded up by at most 0.000004 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    cell: u32,
    nanos: u64,
}

impl Width {
    const MANTISSA_BITS: u32 = 28;

    fn at_least(span: u64) -> Self {
        let (mut exponent, mut mantissa) = (0, span);
        while mantissa >> Self::MANTISSA_BITS != 0 {
            exponent += 1;
            mantissa = span.div_ceil(10_u64.pow(exponent));
        }
        // At most 28 bits by the choice of the exponent.
        let mantissa = u32::try_from(mantissa).unwrap_or(u32::MAX);
        Self::of(mantissa | exponent << Self::MANTISSA_BITS)
    }

    fn of(cell: u32) -> Self {
        let mantissa = u64::from(cell & ((1 << Self::MANTISSA_BITS) - 1));
        Self {
            cell,
            nanos: mantissa * 10_u64.pow(cell >> Self::MANTISSA_BITS),
        }
    }
}

/// A state brought to the present: counts by age in sub-windows, the newest first.
struct View<'a> {
    /// The number of the sub-window of age 0.
    newest: u64,
    /// The live ones among the stored counts, youngest first; the first has age `shift`.
    counts: &'a [u32],
    shift: u64,
}

impl SlidingWindow {
    pub(crate) fn new(limit: u64, per: Nanos, sub_windows: u32) -> Result<Self, LimitError> {
        if sub_windows == 0 || sub_windows > MAX_SUB_WINDOWS {
            return Err(LimitError::SubWindows {
                sub_windows,
                max: MAX_SUB_WINDOWS,
            });
        }
        let limit = u32::try_from(limit).map_err(|_| LimitError::LimitTooHigh {
            limit,
            max: u32::MAX.into(),
        })?;
        Ok(Self {
            limit,
            sub_windows,
            width: Width::at_least(per.0.div_ceil(sub_windows.into())),
        })
    }

    /// Words of state.
    pub(crate) fn words(&self) -> usize {
        (COUNTS + self.sub_windows as usize + 1).div_ceil(2)
    }

    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        self.sub_windows == other.sub_windows
    }

    /// The state is one of this width: see `renew`.
    #[inline]
    pub(crate) fn decide(&self, state: &[u64], now: Nanos, cost: u64, scale: Scale) -> Usage {
        let cells: &[u32] = bytemuck::cast_slice(state);
        self.answer(&self.view(cells, now), now, cost, scale)
    }

    #[inline]
    pub(crate) fn take(&self, state: &mut [u64], now: Nanos, cost: u64, scale: Scale) -> Usage {
        self.renew(state, now);
        let cells: &mut [u32] = bytemuck::cast_slice_mut(state);
        let usage = self.answer(&self.view(cells, now), now, cost, scale);
        if usage.allowed() && cost > 0 {
            self.advance(cells, now);
            // `cost` was allowed, so the sum is at most the limit, which fits.
            cells[COUNTS] += u32::try_from(cost).unwrap_or(u32::MAX);
        }
        usage
    }

    /// Gives back `cost`, from the oldest counted sub-window first.
    pub(crate) fn refund(&self, state: &mut [u64], now: Nanos, mut cost: u64) {
        if self.is_idle(state, now) {
            return;
        }
        let cells: &mut [u32] = bytemuck::cast_slice_mut(state);
        self.advance(cells, now);
        for count in self.counts_mut(cells).iter_mut().rev() {
            let back = u64::from(*count).min(cost);
            // At most `count`, so it fits.
            *count -= u32::try_from(back).unwrap_or(0);
            cost -= back;
        }
    }

    /// After a change of the period: puts each count into the sub-window of the new width in which it can last have
    /// been used.
    #[inline]
    pub(crate) fn renew(&self, state: &mut [u64], now: Nanos) {
        let cells: &mut [u32] = bytemuck::cast_slice_mut(state);
        if cells[WIDTH] != self.width.cell && cells[WIDTH] != 0 {
            self.convert(cells, now);
        }
    }

    #[inline]
    pub(crate) fn is_idle(&self, state: &[u64], now: Nanos) -> bool {
        let cells: &[u32] = bytemuck::cast_slice(state);
        let width = match cells[WIDTH] {
            0 => return true,
            cell if cell == self.width.cell => self.width,
            cell => Width::of(cell),
        };
        let view = self.view_of(cells, now, width);
        view.counts.iter().all(|&count| count == 0)
    }

    fn answer(&self, view: &View, now: Nanos, cost: u64, scale: Scale) -> Usage {
        let max = scale.of_limit(self.limit.into()).min(u32::MAX.into());
        let used: u64 = view.counts.iter().copied().map(u64::from).sum();
        let fits = cost <= max && used + cost <= max;
        let retry = if cost == 0 || fits {
            Retry::Now
        } else if cost > max {
            Retry::Never
        } else {
            Retry::After(self.freed(view, used + cost - max, now))
        };
        let taken = if fits { cost } else { 0 };
        let reset_after = if taken > 0 {
            self.expiry(view.newest, now)
        } else {
            match view.counts.iter().position(|&count| count > 0) {
                Some(age) => self.expiry(view.newest - view.shift - age as u64, now),
                None => Nanos(0),
            }
        };
        Usage {
            max,
            remaining: max.saturating_sub(used + taken),
            reset_after,
            retry,
        }
    }

    /// How long until `needed` of what is counted has left the window.
    fn freed(&self, view: &View, needed: u64, now: Nanos) -> Nanos {
        let mut left = 0;
        for (age, &count) in view.counts.iter().enumerate().rev() {
            left += u64::from(count);
            if left >= needed {
                return self.expiry(view.newest - view.shift - age as u64, now);
            }
        }
        // `needed <= used`, which is the sum of the counts: not reached.
        self.expiry(view.newest, now)
    }

    /// How long until sub-window `number` is no longer counted.
    #[inline]
    fn expiry(&self, number: u64, now: Nanos) -> Nanos {
        let end = number
            .saturating_add(u64::from(self.sub_windows) + 1)
            .saturating_mul(self.width.nanos);
        Nanos(end).saturating_sub(now)
    }

    #[inline]
    fn view<'a>(&self, cells: &'a [u32], now: Nanos) -> View<'a> {
        self.view_of(cells, now, self.width)
    }

    #[inline]
    fn view_of<'a>(&self, cells: &'a [u32], now: Nanos, width: Width) -> View<'a> {
        let stored = newest(cells);
        // A clock that was set back stays in the sub-window that it has reached.
        let newest = (now.0 / width.nanos).max(stored);
        let kept = self.sub_windows as usize + 1;
        let shift = newest - stored;
        let live = kept.saturating_sub(usize::try_from(shift).unwrap_or(usize::MAX));
        View {
            newest,
            counts: &cells[COUNTS..COUNTS + live],
            shift,
        }
    }

    /// Moves the counts so that the first is that of the present sub-window.
    #[inline]
    fn advance(&self, cells: &mut [u32], now: Nanos) {
        let stored = newest(cells);
        let newest = (now.0 / self.width.nanos).max(stored);
        let counts = self.counts_mut(cells);
        let shift = usize::try_from(newest - stored)
            .unwrap_or(usize::MAX)
            .min(counts.len());
        if shift > 0 {
            counts.copy_within(..counts.len() - shift, shift);
            counts[..shift].fill(0);
        }
        set_newest(cells, newest);
        cells[WIDTH] = self.width.cell;
    }

    #[cold]
    fn convert(&self, cells: &mut [u32], now: Nanos) {
        let old = Width::of(cells[WIDTH]);
        let view = self.view_of(cells, now, old);
        let counts = view.counts.iter().enumerate();
        let moved: Vec<(u64, u32)> = counts
            .filter(|(_, &count)| count > 0)
            .map(|(age, &count)| {
                let first = (view.newest - view.shift - age as u64).saturating_mul(old.nanos);
                let last = first.saturating_add(old.nanos - 1);
                // One that has not begun was used before the clock was set back, perhaps to its end.
                let at = if first > now.0 { last } else { last.min(now.0) };
                (at / self.width.nanos, count)
            })
            .collect();
        cells.fill(0);
        let Some(&(latest, _)) = moved.first() else {
            return;
        };
        let newest = latest.max(now.0 / self.width.nanos);
        for (number, count) in moved {
            let age = usize::try_from(newest - number).unwrap_or(usize::MAX);
            if let Some(into) = self.counts_mut(cells).get_mut(age) {
                *into = into.saturating_add(count);
            }
        }
        if self.counts_mut(cells).iter().all(|&count| count == 0) {
            return;
        }
        set_newest(cells, newest);
        cells[WIDTH] = self.width.cell;
    }

    #[inline]
    fn counts_mut<'a>(&self, cells: &'a mut [u32]) -> &'a mut [u32] {
        &mut cells[COUNTS..=COUNTS + self.sub_windows as usize]
    }
}

#[inline]
fn newest(cells: &[u32]) -> u64 {
    u64::from(cells[0]) | u64::from(cells[1]) << 32
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // the two halves of a word
fn set_newest(cells: &mut [u32], number: u64) {
    cells[0] = number as u32;
    cells[1] = (number >> 32) as u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_width_is_rounded_up_by_next_to_nothing_and_comes_back_from_its_cell(
            span in prop_oneof![1..1_u64 << 58, 1..1_u64 << 30, Just((1 << 58) - 1)],
        ) {
            let width = Width::at_least(span);
            prop_assert!(width.nanos >= span);
            prop_assert!(u128::from(width.nanos - span) * 25_000_000 <= u128::from(span));
            prop_assert_eq!(Width::of(width.cell), width);
        }
    }

    #[test]
    fn what_people_call_a_period_is_cut_exactly() {
        let second = 1_000_000_000;
        let (minute, hour, day) = (60 * second, 3_600 * second, 86_400 * second);
        for per in [
            second / 1_000,
            second,
            minute,
            hour,
            day,
            7 * day,
            365 * day,
        ] {
            for sub_windows in [1, 2, 4, 5, 10, 20, 60, 100, 120] {
                if per % sub_windows == 0 {
                    let span = per / sub_windows;
                    assert_eq!(Width::at_least(span).nanos, span, "{per} / {sub_windows}");
                }
            }
        }
    }
}
