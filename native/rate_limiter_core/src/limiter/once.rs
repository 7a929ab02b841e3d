//! Calls that may be repeated: what each one was is noted under its id when it is admitted.

use crate::call::{Call, Epoch, Once, Receipt, Select};
use crate::error::CallError;
use crate::key::Key;
use crate::plans::Under;
use crate::verdict::{Answer, Retry, Usages};

use super::receipts::{ended, given_name};
use super::Limiter;

impl Limiter {
    /// As [`check_all`](Self::check_all), but charges a repeated call once: if a call with this id, this cost and these
    /// windows was admitted for this key, and is still remembered, the call is admitted and takes nothing. A denied call
    /// is not remembered, so its repetition is decided anew. So is a call that differs, and one that no limit can admit
    /// any more. A [`reset`](Self::reset) or [`refund`](Self::refund) of the key ends its ids, and
    /// [`give_back`](Self::give_back) that of its call. The receipt of a call that takes nothing stands for nothing.
    ///
    /// An id takes as much room as a key, and counts towards `max_keys`. Without room the call is charged and its id is
    /// not remembered: a repetition is charged again.
    ///
    /// ```
    /// use rate_limiter_core::{Limit, Limiter, Nanos, Once, Options, Seed, Select};
    /// use std::time::Duration;
    ///
    /// let limits = [(1, Limit::token_bucket(10, Duration::from_mins(1)))];
    /// let (limiter, epoch) = Limiter::new(&limits, Options::default())?;
    /// let seed = Seed::random();
    /// let once = Once { id: seed.key(b"order 7"), keep: Nanos::from(Duration::from_secs(30)) };
    ///
    /// for _ in 0..3 {
    ///     let (answer, _) = limiter.check_once(epoch, seed.key(b"user 7"), Select::All, 4, once)?;
    ///     assert!(answer.allowed());
    ///     assert_eq!(answer.binding().1.remaining, 6);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_once(
        &self,
        epoch: Epoch,
        key: Key,
        select: Select,
        cost: u64,
        once: Once,
    ) -> Result<(Answer, Receipt), CallError> {
        self.under(epoch, Under::Own)
            .check_once(key, select, cost, once)
    }

    pub(super) fn decide_once(
        &self,
        call: &Call,
        select: Select,
        once: Once,
    ) -> Result<(Answer, Receipt), CallError> {
        let (key, cost) = (call.key, call.cost);
        let mut usages = Usages::new();
        // All of it under the lock of the key, so that the second of two concurrent calls sees what the first did.
        let mut decide = |call: &Call| {
            self.with_notes(call, |stripe, notes| {
                let name = stripe.name(call, select, once.id)?;
                let ended = ended(stripe, notes, key)?;
                let admitted = notes.get(name)?.filter(|serial| *serial > ended);
                let is_repeated = match admitted {
                    Some(serial) => notes.get(given_name(key, serial))?.is_none(),
                    None => false,
                };
                if is_repeated {
                    let peek = Call {
                        takes: false,
                        ..*call
                    };
                    stripe.check_all(&peek, select, &mut usages)?;
                    if usages.iter().all(|(_, usage)| usage.retry != Retry::Never) {
                        let again = Call { cost: 0, ..*call };
                        stripe.check_all(&again, select, &mut usages)?;
                        return Ok(Receipt::default());
                    }
                }
                let receipt = stripe.check_all(call, select, &mut usages)?;
                if cost > 0 && usages.iter().all(|(_, usage)| usage.allowed()) {
                    notes.expect(once.keep);
                    notes.put(name, receipt.serial, once.keep)?;
                }
                Ok(receipt)
            })
        };
        let receipt = decide(call).or_else(|error| decide(&self.make_room(call, error)?))?;
        Ok((Answer::new(usages), receipt))
    }
}
