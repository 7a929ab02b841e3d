//! The first call of a period with which a key passes a share of its limit.

use crate::call::{Call, Epoch, Tag};
use crate::error::CallError;
use crate::key::Key;
use crate::plans::Under;
use crate::scale::Scale;
use crate::store::Totals;
use crate::verdict::Usage;

use super::Limiter;

/// The number of a key's notes of its passes, beside those of its calls.
const PASSED: u64 = 2;

impl Limiter {
    /// Returns whether an admitted call of this cost, with this answer of one window, took the key's usage from below
    /// `share` of the maximum to it or above, for the first time within the period of the window.
    ///
    /// Two integers decide nearly every call. Only a call that passes is looked up among those that were remembered. It
    /// takes as much room as the id of a call, until the period is over. Without room the result is `false`, so a flood
    /// of keys does not repeat itself as a flood of passes. It is also `false` if `epoch` has ended since.
    pub fn passes(
        &self,
        epoch: Epoch,
        key: Key,
        answer: (Tag, &Usage),
        cost: u64,
        share: Scale,
    ) -> bool {
        self.under(epoch, Under::Own)
            .passes(key, answer, cost, share)
    }

    pub(super) fn is_first_pass(&self, call: &Call, tag: Tag) -> Result<bool, CallError> {
        self.with_notes(call, |stripe, notes| {
            let (period, passed) = stripe.threshold(call, tag)?;
            let is_first = notes.mark(call.key.nth(PASSED).and_number(tag), period)?;
            Totals::count(passed, u64::from(is_first));
            Ok(is_first)
        })
    }
}

pub(super) fn crosses(usage: &Usage, cost: u64, share: Scale) -> bool {
    let least = (u128::from(usage.max) * u128::from(share.ppm())).div_ceil(1_000_000);
    let used = u128::from(usage.max - usage.remaining.min(usage.max));
    usage.fits() && used >= least && used.saturating_sub(cost.into()) < least
}
