//! The fixed window: a count that starts again at each boundary. The cheapest, and up to twice the limit can pass
//! around a boundary: use it where the limit itself is a calendar matter (a quota a day).
//!
//! A state is three words: the window's start, its length when it was written, and what it counted.

mod snapshot;

use crate::arithmetic;
use crate::clock::Nanos;
use crate::scale::Scale;
use crate::verdict::Usage;

/// Words of state.
pub(crate) const WORDS: usize = 3;

/// Set in the length where the count is not one key's own (see `share`). No period is so long.
const SHARED: u64 = 1 << 63;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedWindow {
    limit: u64,
    per: u64,
    /// Whether windows begin at multiples of the period since 1970 in UTC, or at a key's first use.
    aligned: bool,
    /// What turns the clock's time into time since 1970.
    offset: Nanos,
}

/// A window that counts at this moment.
#[derive(Clone, Copy)]
struct Current {
    start: u64,
    used: u64,
    /// Where it begins after a use now.
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
        arithmetic::usage(max, current.used, cost, wait, reset_after)
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

    pub(crate) fn refund(&self, state: &mut [u64], now: Nanos, cost: u64) {
        let current = self.current(state, now.saturating_add(self.offset).0);
        if current.used > 0 {
            let shared = state[1] & SHARED;
            self.write(state, current.start, current.used.saturating_sub(cost));
            state[1] |= shared;
        }
    }

    /// After a change of the period: has what the open window counted count in one of the new length.
    pub(crate) fn renew(&self, state: &mut [u64], now: Nanos) {
        let shared = state[1] & SHARED;
        if state[1] & !SHARED != self.per && state[1] != 0 {
            let current = self.current(state, now.saturating_add(self.offset).0);
            state.fill(0);
            if current.used > 0 {
                self.write(state, current.start, current.used);
                state[1] |= shared;
            }
        }
    }

    /// Has others count by this state, too. A window from the first use then begins again at each use, with all that
    /// it has counted, since it may be somebody's first; and once more for who takes a copy along. So nobody finds it
    /// over before an own one would be.
    pub(crate) fn share(&self, state: &mut [u64]) {
        if !self.aligned && state[1] != 0 {
            state[1] |= SHARED;
        }
    }

    #[inline]
    pub(crate) fn is_idle(&self, state: &[u64], now: Nanos) -> bool {
        // By the period under which it was written: whether it was forgotten must not matter to the next.
        let end = state[0].saturating_add(state[1] & !SHARED);
        state[2] == 0 || now.saturating_add(self.offset).0 >= end
    }

    /// The window of `now` (since 1970), with what counts in it.
    #[inline]
    fn current(&self, state: &[u64], now: u64) -> Current {
        let (start, per, used) = (state[0], state[1], state[2]);
        if per == self.per && used > 0 && now < start.saturating_add(per) {
            // A clock that was set back stays in the window that it has reached.
            let next = start;
            return Current { start, used, next };
        }
        self.unusual(state, now)
    }

    /// The window where none is open, where the period was changed, or where the count is shared.
    fn unusual(&self, state: &[u64], now: u64) -> Current {
        let (start, per, used) = (state[0], state[1] & !SHARED, state[2]);
        let begin = |at: u64| if self.aligned { at - at % self.per } else { at };
        if used > 0 && now < start.saturating_add(per) {
            // What an open window counted stays used in the one of the new length.
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
