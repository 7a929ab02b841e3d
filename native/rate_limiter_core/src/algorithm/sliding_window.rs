//! The strict sliding window: never more than `limit` in any window of the period, in bounded memory.
//!
//! Time is divided into sub-windows of a `k`-th of the period. Used is the sum of the present sub-window and of the `k`
//! before it. The oldest counts whole, although only a part of it may still lie in the window: so the count is never
//! too low, and a use counts at most one sub-window longer than it should.
//!
//! A state is a row of 32-bit cells: the number of the newest sub-window (two cells), the width under which it was
//! written, and `k + 1` counts, the newest first.

mod snapshot;

use crate::arithmetic::{self, Width};
use crate::clock::Nanos;
use crate::error::LimitError;
use crate::scale::Scale;
use crate::verdict::Usage;

/// The most sub-windows. At 120 a use counts at most 0.8 % of the period too long; more would only take memory.
pub(crate) const MAX_SUB_WINDOWS: u32 = 120;

const WIDTH: usize = 2;
const COUNTS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlidingWindow {
    limit: u32,
    sub_windows: u32,
    width: Width,
}

/// A state as of now: counts by age in sub-windows, the newest first.
struct View<'a> {
    /// The number of the sub-window of age 0.
    newest: u64,
    /// The stored counts that are live, youngest first; the first has age `shift`.
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

    /// Returns how many words a state has.
    pub(crate) fn words(&self) -> usize {
        (COUNTS + self.sub_windows as usize + 1).div_ceil(2)
    }

    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        self.sub_windows == other.sub_windows
    }

    /// The state must have this width: see `renew`.
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
            // The cost was admitted, so the sum is at most the limit, which fits.
            cells[COUNTS] += u32::try_from(cost).unwrap_or(u32::MAX);
        }
        usage
    }

    /// Returns `cost` to the limit, from the oldest sub-window first.
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

    /// Returns `cost` of a call that was charged at `at`, from the sub-window of that moment.
    pub(crate) fn give_back(&self, state: &mut [u64], at: Nanos, cost: u64) {
        let cells: &mut [u32] = bytemuck::cast_slice_mut(state);
        let age = newest(cells).checked_sub(at.0 / self.width.span);
        let age = age.and_then(|age| usize::try_from(age).ok());
        if let Some(count) = age.and_then(|age| self.counts_mut(cells).get_mut(age)) {
            // At most `count`, so it fits.
            *count -= u32::try_from(u64::from(*count).min(cost)).unwrap_or(0);
        }
    }

    /// Converts the state after a change of the period: each count goes into the last sub-window of the new width in
    /// which it can have been used.
    #[inline]
    pub(crate) fn renew(&self, state: &mut [u64], now: Nanos) {
        if !self.wrote(state) {
            self.convert(bytemuck::cast_slice_mut(state), now);
        }
    }

    /// Returns whether the state is one of this period.
    #[inline]
    pub(crate) fn wrote(&self, state: &[u64]) -> bool {
        let cells: &[u32] = bytemuck::cast_slice(state);
        cells[WIDTH] == self.width.cell || cells[WIDTH] == 0
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
        let end_of = |age: usize| self.expiry(view.newest - view.shift - age as u64, now);
        let wait = |amount| match arithmetic::last_to_leave(view.counts, amount) {
            Some(age) => end_of(age),
            // Not reached: the amount is never more than the sum of the counts.
            None => self.expiry(view.newest, now),
        };
        let reset_after = |taken| match view.counts.iter().position(|&count| count > 0) {
            _ if taken => self.expiry(view.newest, now),
            Some(age) => end_of(age),
            None => Nanos(0),
        };
        arithmetic::usage(max, used, cost, wait, reset_after)
    }

    /// Returns how long it takes until sub-window `number` is no longer counted.
    #[inline]
    fn expiry(&self, number: u64, now: Nanos) -> Nanos {
        let end = number
            .saturating_add(u64::from(self.sub_windows) + 1)
            .saturating_mul(self.width.span);
        Nanos(end).saturating_sub(now)
    }

    #[inline]
    fn view<'a>(&self, cells: &'a [u32], now: Nanos) -> View<'a> {
        self.view_of(cells, now, self.width)
    }

    #[inline]
    fn view_of<'a>(&self, cells: &'a [u32], now: Nanos, width: Width) -> View<'a> {
        let stored = newest(cells);
        // If the clock was set back, the sub-window that it had reached stays the newest.
        let newest = (now.0 / width.span).max(stored);
        let kept = self.sub_windows as usize + 1;
        let shift = newest - stored;
        let live = kept.saturating_sub(usize::try_from(shift).unwrap_or(usize::MAX));
        View {
            newest,
            counts: &cells[COUNTS..COUNTS + live],
            shift,
        }
    }

    /// Moves the counts so that the first is the one of the present sub-window.
    #[inline]
    fn advance(&self, cells: &mut [u32], now: Nanos) {
        let stored = newest(cells);
        let newest = (now.0 / self.width.span).max(stored);
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
                let first = (view.newest - view.shift - age as u64).saturating_mul(old.span);
                let last = first.saturating_add(old.span - 1);
                // A sub-window that has not begun was used before the clock was set back, perhaps until its end.
                let at = if first > now.0 { last } else { last.min(now.0) };
                (at / self.width.span, count)
            })
            .collect();
        cells.fill(0);
        let Some(&(latest, _)) = moved.first() else {
            return;
        };
        let newest = latest.max(now.0 / self.width.span);
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
