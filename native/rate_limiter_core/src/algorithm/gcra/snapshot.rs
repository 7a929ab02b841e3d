//! Export and import of a bucket.

use crate::clock::Nanos;

use super::Gcra;

impl Gcra {
    /// Returns how long the debt takes to drain, rounded up; 0 without a debt.
    pub(crate) fn export(&self, state: &[u64], now: Nanos) -> Nanos {
        self.emission.nanos_ceil_wide(self.exact_debt(state, now))
    }

    /// Sets the debt as of now.
    pub(crate) fn import(&self, state: &mut [u64], now: Nanos, debt: Nanos) {
        if debt.0 == 0 {
            state.fill(0);
        } else {
            self.write_wide(state, now, u128::from(debt.0) << self.emission.shift);
        }
    }
}
