//! Receipts: what still counts of one call is given back, once.

use crate::call::{Call, Epoch, Receipt, Select};
use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::plans::Under;
use crate::store::{Access, Charge, Stripe};
use crate::verdict::{Answer, Usages};

use super::Limiter;

/// The numbers of a key's notes: of its last check that is over, and of what was given back of one call.
const OVER: u64 = 1;
const GIVEN: u64 = 2;

/// The largest value of a note: it stands for all of a larger cost.
const MOST: u64 = (1 << 58) - 1;

impl Limiter {
    /// Gives back `cost` of the call with this receipt, which was charged `charged`, to the selected windows, and returns
    /// their usage after that. At most what still counts of that call is given back, and in all at most what it was
    /// charged, however often and at any time: so what other calls of the key have used stays used, and no window admits
    /// more than its limit of the calls that were not given back.
    ///
    /// Nothing is given back of a call that the window has forgotten, that a [`reset`](Self::reset) or a
    /// [`refund`](Self::refund) has ended, whose window was changed, or that another limiter has decided. Of a token
    /// bucket, what has refilled since the call is not given back.
    ///
    /// [`CallError::NoRoom`] if the key is judged together with others, or there is no room to remember what was given
    /// back: then nothing is.
    ///
    /// ```
    /// use rate_limiter_core::{Limit, Limiter, Options, Seed, Select};
    /// use std::time::Duration;
    ///
    /// let limits = [(1, Limit::sliding_window(10, Duration::from_mins(1)))];
    /// let (limiter, epoch) = Limiter::new(&limits, Options::default())?;
    /// let key = Seed::random().key(b"user 7");
    ///
    /// let (_, receipt) = limiter.charge(epoch, key, 1, 6)?;
    /// let (_, other) = limiter.charge(epoch, key, 1, 3)?;
    /// for (receipt, charged, cost, left) in [(receipt, 6, 4, 5), (receipt, 6, 4, 7), (receipt, 6, 4, 7), (other, 3, 9, 10)] {
    ///     let answer = limiter.give_back(epoch, key, Select::All, receipt, charged, cost)?;
    ///     assert_eq!(answer.binding().1.remaining, left);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn give_back(
        &self,
        epoch: Epoch,
        key: Key,
        select: Select,
        receipt: Receipt,
        charged: u64,
        cost: u64,
    ) -> Result<Answer, CallError> {
        self.under(epoch, Under::Own)
            .give_back(key, select, receipt, charged, cost)
    }

    pub(super) fn give_back_all(
        &self,
        refund: &Call,
        select: Select,
        receipt: Receipt,
        charged: u64,
    ) -> Result<Answer, CallError> {
        let (key, cost) = (refund.key, refund.cost);
        let call = Call { cost: 0, ..*refund };
        let mut usages = Usages::new();
        self.with_notes(&call, |stripe, notes| {
            let ended = ended(stripe, notes, key)?;
            let name = given_name(key, receipt.serial);
            let is_known = receipt.serial > ended && stripe.states().knows_call(receipt.serial);
            if is_known && stripe.knows(&call)? {
                let given = match notes.get(name)?.unwrap_or(0) {
                    MOST => charged,
                    given => given,
                };
                let left = charged.saturating_sub(given);
                let back = Call {
                    cost: cost.min(left),
                    ..call
                };
                if back.cost > 0 {
                    let keep = stripe.longest(call.epoch)?.max(notes.longest());
                    if !notes.put(name, (given + back.cost).min(MOST), keep)? {
                        return Err(CallError::NoRoom);
                    }
                    let charge = Charge {
                        at: receipt.at,
                        left,
                    };
                    stripe.give_back(&back, select, &charge)?;
                }
            }
            stripe.check_all(&call, select, &mut usages)
        })?;
        Ok(Answer::new(usages))
    }
}

/// Ends all calls of a key so far, before their usage is given back or forgotten.
pub(super) fn end_calls(
    stripe: &mut Stripe,
    notes: &mut Access,
    call: &Call,
) -> Result<(), CallError> {
    let is_used = stripe.knows(call)?;
    let ids = notes.longest();
    if !is_used && ids == Nanos(0) {
        // Nothing is remembered of any call.
        return Ok(());
    }
    let keep = stripe.longest(call.epoch)?.max(ids);
    let serial = stripe.states().serial();
    if !notes.put(call.key.nth(OVER), serial, keep)? {
        stripe.states_mut().end_calls();
    }
    Ok(())
}

/// Returns the number up to which all checks of a key have ended.
pub(super) fn ended(stripe: &Stripe, notes: &mut Access, key: Key) -> Result<u64, CallError> {
    let own = notes.get(key.nth(OVER))?.unwrap_or(0);
    Ok(own.max(stripe.states().over()))
}

/// Returns the name of the note of what was given back of a call.
pub(super) fn given_name(key: Key, serial: u64) -> Key {
    key.nth(GIVEN).and_number(serial)
}
