//! Calls that may be repeated: the id of each is remembered when it is admitted.

use crate::call::{Call, Epoch, Once, Select};
use crate::error::CallError;
use crate::key::Key;
use crate::verdict::Answer;

use super::Limiter;

impl Limiter {
    /// As [`check_all`](Self::check_all), but charges a repeated call once: if a call with this id was admitted for
    /// this key, and is still remembered, the call is admitted and takes nothing. A denied call is not remembered, so
    /// its repetition is decided anew.
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
        let id = key.and(once.id);
        let mut usages = Vec::new();
        let mut crowded = false;
        // All of it under the lock of the key, so that the second of two concurrent calls sees what the first did.
        let mut decide = |call: &Call| {
            self.with(key, |stripe| {
                if self
                    .once_ids
                    .contains(epoch.0, id, call.monotonic, &mut crowded)?
                {
                    let again = Call { cost: 0, ..*call };
                    return stripe.check_all(&again, select, &mut usages);
                }
                stripe.check_all(call, select, &mut usages)?;
                if cost > 0 && usages.iter().all(|(_, usage)| usage.allowed()) {
                    self.once_ids
                        .insert(epoch.0, id, once.keep, call.monotonic, &mut crowded)?;
                }
                Ok(())
            })
        };
        let result = decide(&call).or_else(|error| decide(&self.make_room(&call, error)?));
        if crowded {
            self.split_once_ids();
        }
        result.map(|()| Answer::new(usages))
    }

    #[cold]
    fn split_once_ids(&self) {
        if let Some(_control) = self.control.try_lock() {
            self.once_ids.table().split();
        }
    }
}
