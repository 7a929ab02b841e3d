//! Export and import of a bucket.

use crate::clock::Nanos;

use super::{EmissionInterval, Gcra};

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

/// Converts a debt that was counted at the rate `from` to as many tokens at the rate `to`, rounded up.
pub(crate) fn converted(debt: Nanos, from: (u64, Nanos), to: (u64, Nanos)) -> Nanos {
    let interval = |(limit, per)| EmissionInterval::new(limit, per);
    match (interval(from), interval(to)) {
        (Ok(from), Ok(to)) if from != to => {
            let ticks = u128::from(debt.0) << from.shift;
            let product = ticks.checked_mul(to.ticks.into());
            // A product that does not fit is a debt beyond the last moment, too.
            product.map_or(Nanos(u64::MAX), |product| {
                to.nanos_ceil_wide(product.div_ceil(from.ticks.into()))
            })
        }
        _ => debt,
    }
}
