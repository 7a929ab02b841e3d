//! The fixed window: a count that restarts at each boundary. It is the cheapest algorithm, and admits up to twice the
//! limit around a boundary: use it where the limit itself follows the calendar (a quota a day).
//!
//! A state is three words: the start of the window, its length when it was written, and its count.

mod snapshot;

use crate::arithmetic;
use crate::clock::Nanos;
use crate::scale::Scale;
use crate::verdict::Usage;

/// Words of state.
pub(crate) const WORDS: usize = 3;

/// This bit of the length marks a count that several keys share (see `share`). No period is so long.
const SHARED: u64 = 1 << 63;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedWindow {
    limit: u64,
    per: u64,
    /// Whether windows begin at multiples of the period since 1970 in UTC, or at the first use of a key.
    aligned: bool,
    /// Added to the clock's time, gives time since 1970.
    offset: Nanos,
}

/// The window that counts now.
#[derive(Clone, Copy)]
struct Current {
    start: u64,
    used: u64,
    /// Its start after a use now.
    next: u64,
}

impl FixedWindow {
    pub(crate) fn new(limit: u64, per: Nanos, aligned: bool, offset: Nanos) -> Self {
        Self {
            limit,
            per: per.0,
            aligned,
            offset,
        }
    }

    pub(crate) fn set_offset(&mut self, offset: Nanos) {
        self.offset = offset;
    }

    /// Converts a state that was written with another offset. The count of an aligned window lasts until UTC reaches
    /// the end of that window or, if UTC was set back before its start, the end of the present one. A window from the
    /// first use does not depend on UTC.
    pub(crate) fn follow(&self, state: &mut [u64], old: Nanos, now: Nanos) {
        let (start, per, used) = (state[0], state[1] & !SHARED, state[2]);
        if used == 0 {
            return;
        }
        state[0] = if self.aligned {
            let now = now.saturating_add(self.offset).0;
            start.min(now - now % per)
        } else {
            start.saturating_sub(old.0).saturating_add(self.offset.0)
        };
    }

    #[inline]
    pub(crate) fn decide(&self, state: &[u64], now: Nanos, cost: u64, scale: Scale) -> Usage {
        let now = now.saturating_add(self.offset).0;
        let current = self.current(state, now);
        let max = scale.of_limit(self.limit);
        let until = |start: u64| Nanos(start.saturating_add(self.per).saturating_sub(now));
        let reset_after = |taken| match current.used {
            _ if taken => until(current.next),
            0 => Nanos(0),
            _ => until(current.start),
        };
        let wait = |_| until(current.start);
        let usage = arithmetic::usage(max, current.used, cost, wait, reset_after);
        // All units return together, and a use may restart a window that keys share.
        let next_after = usage.reset_after;
        Usage {
            next_after,
            ..usage
        }
    }

    #[inline]
    pub(crate) fn take(&self, state: &mut [u64], now: Nanos, cost: u64, scale: Scale) -> Usage {
        let usage = self.decide(state, now, cost, scale);
        if usage.allowed() && cost > 0 {
            let current = self.current(state, now.saturating_add(self.offset).0);
            self.write(state, current.next, current.used + cost);
        } else {
            self.renew(state, now);
        }
        usage
    }

    /// Returns `cost` of a call that was charged at `at`, if that was in the open window.
    pub(crate) fn give_back(&self, state: &mut [u64], now: Nanos, at: Nanos, cost: u64) {
        let current = self.current(state, now.saturating_add(self.offset).0);
        if current.start <= at.saturating_add(self.offset).0 {
            self.refund(state, now, cost);
        }
    }

    pub(crate) fn refund(&self, state: &mut [u64], now: Nanos, cost: u64) {
        let current = self.current(state, now.saturating_add(self.offset).0);
        if current.used > 0 {
            let shared = state[1] & SHARED;
            self.write(state, current.start, current.used.saturating_sub(cost));
            state[1] |= shared;
        }
    }

    /// Converts the state after a change of the period: the count of the open window counts in one of the new length.
    pub(crate) fn renew(&self, state: &mut [u64], now: Nanos) {
        let shared = state[1] & SHARED;
        if !self.wrote(state) {
            let current = self.current(state, now.saturating_add(self.offset).0);
            state.fill(0);
            if current.used > 0 {
                self.write(state, current.start, current.used);
                state[1] |= shared;
            }
        }
    }

    /// Returns whether the state is one of this period.
    pub(crate) fn wrote(&self, state: &[u64]) -> bool {
        state[1] & !SHARED == self.per || state[1] == 0
    }

    /// Marks a state that several keys share. A window from the first use then restarts at each use, with its whole
    /// count, since that use may be the first of its key; and it restarts once more for a key that gets a copy. So it
    /// never ends before the key's own window would.
    pub(crate) fn share(&self, state: &mut [u64]) {
        if !self.aligned && state[1] != 0 {
            state[1] |= SHARED;
        }
    }

    #[inline]
    pub(crate) fn is_idle(&self, state: &[u64], now: Nanos) -> bool {
        // By the period under which it was written: the next call must not depend on whether the state was forgotten.
        let end = state[0].saturating_add(state[1] & !SHARED);
        state[2] == 0 || now.saturating_add(self.offset).0 >= end
    }

    /// Returns the window of `now` (since 1970), with its count.
    #[inline]
    fn current(&self, state: &[u64], now: u64) -> Current {
        let (start, per, used) = (state[0], state[1], state[2]);
        if per == self.per && used > 0 && now < start.saturating_add(per) {
            // If the clock was set back, the window that it had reached stays open.
            let next = start;
            return Current { start, used, next };
        }
        self.unusual(state, now)
    }

    /// As `current`, also if no window is open, if the period was changed, or if the count is shared.
    fn unusual(&self, state: &[u64], now: u64) -> Current {
        let (start, per, used) = (state[0], state[1] & !SHARED, state[2]);
        let begin = |at: u64| if self.aligned { at - at % self.per } else { at };
        if used > 0 && now < start.saturating_add(per) {
            // The count of an open window stays used in the window of the new length.
            let start = if self.aligned && per != self.per {
                begin(now.max(start))
            } else {
                start
            };
            let shared = state[1] & SHARED != 0;
            let next = if shared { now.max(start) } else { start };
            if now < start.saturating_add(self.per) {
                return Current { start, used, next };
            }
        }
        let start = begin(now);
        let (used, next) = (0, start);
        Current { start, used, next }
    }

    #[inline]
    fn write(&self, state: &mut [u64], start: u64, used: u64) {
        state[0] = start;
        state[1] = self.per;
        state[2] = used;
    }
}
