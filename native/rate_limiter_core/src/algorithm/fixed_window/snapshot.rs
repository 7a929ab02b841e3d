//! Export and import of a fixed window. Its state counts time from 1970, too.

use crate::clock::Nanos;
use crate::snapshot::Snapshot;

use super::{FixedWindow, SHARED};

impl FixedWindow {
    /// Returns the count of the open window; `None` if nothing is used.
    pub(crate) fn export(&self, state: &[u64], now: Nanos) -> Option<Snapshot> {
        let current = self.current(state, now.saturating_add(self.offset).0);
        (current.used > 0).then_some(Snapshot::Fixed {
            start: Nanos(current.start),
            per: Nanos(self.per),
            used: current.used,
        })
    }

    /// Replaces the state by `used` in the window that began at `start` and lasts `per`.
    pub(crate) fn import(
        &self,
        state: &mut [u64],
        now: Nanos,
        (start, per, used): (Nanos, Nanos, u64),
    ) {
        let shared = state[1] & SHARED;
        state.copy_from_slice(&[start.0, per.0 & !SHARED, used]);
        if used == 0 || self.is_idle(state, now) {
            state.fill(0);
        } else {
            state[1] |= shared;
            self.renew(state, now);
        }
    }
}
