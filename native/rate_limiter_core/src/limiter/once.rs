//! Calls that may be repeated: what each one was is noted under its id when it is admitted.

use crate::call::{Call, Epoch, Once, Select};
use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::store::{Access, Stripe};
use crate::verdict::{Answer, Retry};

use super::Limiter;

/// The number of a key's note that holds the number of its last check that is over.
const OVER: u64 = 1;

impl Limiter {
    /// As [`check_all`](Self::check_all), but charges a repeated call once: if a call with this id, this cost and these
    /// windows was admitted for this key, and is still remembered, the call is admitted and takes nothing. A denied call
    /// is not remembered, so its repetition is decided anew. So is a call that differs, and one that no limit can admit
    /// any more. A [`reset`](Self::reset) or [`refund`](Self::refund) of the key forgets its ids.
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
    ///     let answer = limiter.check_once(epoch, seed.key(b"user 7"), Select::All, 4, once)?;
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
    ) -> Result<Answer, CallError> {
        let call = self.call(epoch, key, cost, true);
        let mut usages = Vec::new();
        // All of it under the lock of the key, so that the second of two concurrent calls sees what the first did.
        let mut decide = |call: &Call| {
            self.with_notes(call, |stripe, notes| {
                let name = stripe.name(call, select, once.id)?;
                let ended = ended(stripe, key, notes)?;
                if notes.get(name)?.is_some_and(|serial| serial > ended) {
                    let peek = Call {
                        takes: false,
                        ..*call
                    };
                    stripe.check_all(&peek, select, &mut usages)?;
                    if usages.iter().all(|(_, usage)| usage.retry != Retry::Never) {
                        let again = Call { cost: 0, ..*call };
                        return stripe.check_all(&again, select, &mut usages);
                    }
                }
                stripe.check_all(call, select, &mut usages)?;
                if cost > 0 && usages.iter().all(|(_, usage)| usage.allowed()) {
                    notes.put(name, stripe.states().serial(), once.keep)?;
                }
                Ok(())
            })
        };
        decide(&call).or_else(|error| decide(&self.make_room(&call, error)?))?;
        Ok(Answer::new(usages))
    }
}

/// Ends all calls of a key so far.
pub(super) fn end_calls(
    stripe: &mut Stripe,
    key: Key,
    notes: &mut Access,
) -> Result<(), CallError> {
    let keep = notes.longest();
    if keep == Nanos(0) {
        // No call is remembered.
        return Ok(());
    }
    let serial = stripe.states().serial();
    if !notes.put(key.nth(OVER), serial, keep)? {
        stripe.states_mut().end_calls();
    }
    Ok(())
}

/// Returns the number up to which all checks of a key have ended.
fn ended(stripe: &Stripe, key: Key, notes: &mut Access) -> Result<u64, CallError> {
    let own = notes.get(key.nth(OVER))?.unwrap_or(0);
    Ok(own.max(stripe.states().over()))
}
