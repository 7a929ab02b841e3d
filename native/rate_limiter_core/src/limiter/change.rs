//! Changes of an open limiter: other limits, what they would do to the present keys, and to forget all keys.

use std::sync::Arc;

use crate::call::{Epoch, Tag};
use crate::clock::monotonic;
use crate::error::{CallError, UpdateError};
use crate::limit::Limit;
use crate::plan::Plan;
use crate::stats::Preview;
use crate::store::{Generation, Stripe};

use super::{longest, Limiter};

impl Limiter {
    /// Changes the limits of some windows, all of them or none. No answer is decided by some of the new limits and some of
    /// the old. Usage is kept: the next call for a key converts its state. A window that is not a bucket, and returns to a
    /// period that it had, counts again what it counted under that one: until that is over, the states take their memory
    /// once more. Plans follow in what they do not change, unless such a limit cannot be kept: then it stays.
    pub fn update_limits(&self, epoch: Epoch, limits: &[(Tag, Limit)]) -> Result<(), UpdateError> {
        let mut control = self.control.lock();
        let old = control.generation(epoch)?;
        let plan = changed(old, limits)?;
        let generation = Generation {
            longest: old
                .longest
                .max(longest(limits.iter().map(|(_, limit)| limit))),
            plan,
            plans: None,
            clock: old.clock.clone(),
            accounting: Arc::clone(&old.accounting),
            ..**old
        };
        let generation = generation.with_plans_of(old);
        let (former, now) = (Arc::new(old.apart()), monotonic());
        self.table
            .each(|stripe| stripe.renew(&generation, &former, now));
        control.generation = Some(generation);
        Ok(())
    }

    /// Returns what [`update_limits`](Self::update_limits) would do to the present keys, and changes nothing. Visits all
    /// keys, those of one stripe at a time.
    ///
    /// ```
    /// use rate_limiter_core::{Limit, Limiter, Options, Preview, Seed};
    /// use std::time::Duration;
    ///
    /// let bucket = |limit| [(1, Limit::token_bucket(limit, Duration::from_mins(1)))];
    /// let (limiter, epoch) = Limiter::new(&bucket(10), Options::default())?;
    /// for (id, cost) in [("ann", 5), ("bob", 1), ("eve", 10)] {
    ///     limiter.check(epoch, Seed::random().key(id.as_bytes()), 1, cost)?;
    /// }
    /// // Eve is denied already.
    /// assert_eq!(limiter.preview(epoch, &bucket(3))?, Preview { keys: 3, denied: 1 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn preview(&self, epoch: Epoch, limits: &[(Tag, Limit)]) -> Result<Preview, UpdateError> {
        let control = self.control.lock();
        let plan = changed(control.generation(epoch)?, limits)?;
        let (now, scale) = (monotonic(), self.scale());
        let mut preview = Preview::default();
        self.table
            .each(|stripe| preview += stripe.preview(&plan, now, scale));
        Ok(preview)
    }

    /// Forgets what all keys have used, and the ids and receipts of their calls. What was counted in
    /// [`stats`](Self::stats) stays. A call in the meantime comes before or after it.
    pub fn forget(&self, epoch: Epoch) -> Result<(), CallError> {
        let control = self.control.lock();
        control.generation(epoch)?;
        // The ids of calls first: if one is admitted in between, its id stays known, so that it is not charged twice.
        for table in [self.notes.table(), &self.table] {
            for number in 0..table.len() {
                // The memory is freed outside of the lock.
                drop(table.nth(number, Stripe::forget));
            }
        }
        Ok(())
    }
}

fn changed(old: &Generation, limits: &[(Tag, Limit)]) -> Result<Plan, UpdateError> {
    for (tag, _) in limits {
        old.plan.window(*tag)?;
    }
    Ok(old.plan.with_limits(limits, old.offset_to_unix)?)
}
