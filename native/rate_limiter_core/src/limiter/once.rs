//! Calls that may be made again: a name for each, remembered when it is admitted.

use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::plan::Select;
use crate::store::Ask;
use crate::verdict::Answer;

use super::{Epoch, Limiter};

/// A name for a call, so that made again it is not charged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// Of what the caller calls it by, unique for its key.
    pub id: Key,
    /// How long it is remembered.
    pub keep: Nanos,
}

impl Limiter {
    /// As [`check_all`](Self::check_all); but where a call of this name about this key was admitted before, within what
    /// it was to be remembered for, it is admitted again and takes nothing. A denied call is not remembered, so it is
    /// judged anew.
    ///
    /// A name takes as much room as a key, and counts towards `max_keys`. Where there is none left, the call is charged
    /// and its name forgotten: made again it is charged again.
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
    ///     let answer = limiter.check_once(epoch, seed.key(b"somebody"), Select::All, 4, once)?;
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
        let ask = self.ask(epoch, key, cost, true);
        let name = key.and(once.id);
        let mut usages = Vec::new();
        let mut crowded = false;
        // All of it under the key's lock, so that of two such calls at once the second sees what the first did.
        let result = self.with(key, |stripe| {
            if self.names.has(epoch.0, name, ask.monotonic, &mut crowded)? {
                let again = Ask { cost: 0, ..ask };
                return stripe.ask_all(&again, select, &mut usages);
            }
            stripe.ask_all(&ask, select, &mut usages)?;
            if cost > 0 && usages.iter().all(|(_, usage)| usage.allowed()) {
                self.names
                    .put(epoch.0, name, once.keep, ask.monotonic, &mut crowded)?;
            }
            Ok(())
        });
        if crowded {
            self.split_names();
        }
        result.map(|()| Answer::new(usages))
    }

    #[cold]
    fn split_names(&self) {
        if let Some(_control) = self.control.try_lock() {
            self.names.table().split();
        }
    }
}
