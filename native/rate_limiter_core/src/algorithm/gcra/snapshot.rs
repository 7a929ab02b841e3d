//! A bucket's state, leaving and arriving.

use crate::clock::Nanos;

use super::Gcra;

impl Gcra {
    /// The time that what is owed takes to drain, rounded up; 0 if nothing is.
    pub(crate) fn export(&self, state: &[u64], now: Nanos) -> Nanos {
        self.emission.nanos_ceil_wide(self.exact_debt(state, now))
    }

    /// Owes so much from now on.
    pub(crate) fn import(&self, state: &mut [u64], now: Nanos, debt: Nanos) {
        if debt.0 == 0 {
            state.fill(0);
        } else {
            self.write_wide(state, now, u128::from(debt.0) << self.emission.shift);
        }
    }
}
