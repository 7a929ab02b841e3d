//! Export and import of a window's counts.
//!
//! A snapshot numbers sub-windows from 1970, a state from the zero of the clock. If the two grids differ, a count goes
//! into the last sub-window in which it can have been used, as after a change of the period.

use crate::clock::Nanos;
use crate::snapshot::Snapshot;

use super::{newest, set_newest, SlidingWindow, COUNTS, WIDTH};

impl SlidingWindow {
    /// Returns the live counts of a state of this width; `None` if nothing is used. `offset` added to the clock's time
    /// is time since 1970.
    pub(crate) fn export(&self, state: &[u64], now: Nanos, offset: Nanos) -> Option<Snapshot> {
        if self.is_idle(state, now) {
            return None;
        }
        let cells: &[u32] = bytemuck::cast_slice(state);
        let view = self.view(cells, now);
        let (stored, width) = (newest(cells), self.width.span);
        let mut moved = Moved::new(width, now.saturating_add(offset), self.kept());
        for (age, &count) in view.counts.iter().enumerate() {
            let Some(number) = stored.checked_sub(age as u64) else {
                break;
            };
            let start = number.saturating_mul(width);
            moved.put(start.saturating_add(offset.0), width, count.into());
        }
        Some(Snapshot::Window {
            width: Nanos(width),
            newest: moved.newest,
            counts: moved.counts,
        })
    }

    /// Replaces the state by `counts` of sub-windows of `width`, which are numbered from 1970.
    pub(crate) fn import(
        &self,
        state: &mut [u64],
        now: Nanos,
        offset: Nanos,
        (width, newest, counts): (Nanos, u64, &[u64]),
    ) {
        state.fill(0);
        let mut moved = Moved::new(self.width.span, now, self.kept());
        for (age, &count) in counts.iter().enumerate() {
            let Some(number) = newest.checked_sub(age as u64) else {
                break;
            };
            if count == 0 && age > 0 {
                continue;
            }
            let start = number.saturating_mul(width.0);
            // A use before the zero of the clock counts from that zero on, so longer than it must.
            moved.put(start.saturating_sub(offset.0), width.0.max(1), count);
        }
        let cells: &mut [u32] = bytemuck::cast_slice_mut(state);
        let into = &mut cells[COUNTS..];
        for (cell, &count) in into.iter_mut().zip(&moved.counts) {
            *cell = u32::try_from(count).unwrap_or(u32::MAX);
        }
        if moved.counts.iter().any(|&count| count > 0) {
            set_newest(cells, moved.newest);
            cells[WIDTH] = self.width.cell;
        }
    }

    fn kept(&self) -> usize {
        self.sub_windows as usize + 1
    }
}

/// Counts that move from one grid of sub-windows to another, newest first.
struct Moved {
    width: u64,
    now: u64,
    newest: u64,
    counts: Vec<u64>,
}

impl Moved {
    fn new(width: u64, now: Nanos, kept: usize) -> Self {
        Self {
            width,
            now: now.0,
            newest: now.0 / width,
            counts: vec![0; kept],
        }
    }

    /// Adds what was used in the `span` that began at `start`. The newest sub-window must be added first, also if it is
    /// empty: the clock may have reached it before it was set back.
    fn put(&mut self, start: u64, span: u64, count: u64) {
        let last = start.saturating_add(span - 1);
        // A sub-window that has not begun was used before the clock was set back, perhaps until its end.
        let at = if start > self.now {
            last
        } else {
            last.min(self.now)
        };
        let number = at / self.width;
        if number > self.newest {
            let shift = usize::try_from(number - self.newest).unwrap_or(usize::MAX);
            let length = self.counts.len();
            self.counts.rotate_right(shift.min(length) % length);
            self.counts[..shift.min(length)].fill(0);
            self.newest = number;
        }
        let age = usize::try_from(self.newest.saturating_sub(number)).unwrap_or(usize::MAX);
        if let Some(into) = self.counts.get_mut(age) {
            *into = into.saturating_add(count);
        }
    }
}
