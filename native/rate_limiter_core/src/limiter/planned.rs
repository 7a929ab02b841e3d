//! Calls under a plan, and changes of plans.

use std::sync::Arc;

use crate::call::{Call, Epoch, Once, Receipt, Select, Tag};
use crate::error::{CallError, UpdateError};
use crate::key::Key;
use crate::plans::{Change, Made, Plans, Under};
use crate::scale::Scale;
use crate::snapshot::{Import, Known};
use crate::store::Generation;
use crate::verdict::{Answer, Usage};

use super::threshold::crosses;
use super::{Control, Limiter};

/// The calls of a limiter under one of its plans, each as the function of [`Limiter`] with its name.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    limiter: &'a Limiter,
    epoch: Epoch,
    under: Under<'a>,
}

impl Limiter {
    /// Returns the calls of this limiter under a plan. [`CallError::UnknownPlan`] if it does not have the plan.
    ///
    /// What a key has used stays used when its plan changes. A key has one plan at a time: its bucket drains at the rate
    /// of the plan under which the last call was decided.
    ///
    /// ```
    /// use rate_limiter_core::{Change, Limit, Limiter, Options, Seed, Under};
    /// use std::time::Duration;
    ///
    /// let limits = [(1, Limit::fixed_window(10, Duration::from_mins(1)))];
    /// let (limiter, epoch) = Limiter::new(&limits, Options::default())?;
    /// let seed = Seed::random();
    /// let (key, pro) = (seed.key(b"user 7"), seed.key(b"pro"));
    /// let change = Change { tag: 1, limit: Some(1_000), per: None, burst: None, is_enforced: None };
    /// limiter.put_plans(epoch, &[(pro, vec![change])])?;
    ///
    /// assert_eq!(limiter.check(epoch, key, 1, 7)?.remaining, 3);
    /// assert_eq!(limiter.under(epoch, Under::Plan(pro)).charge(key, 1, 20)?.0.remaining, 973);
    /// assert_eq!(limiter.check(epoch, key, 1, 0)?.remaining, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn under<'a>(&'a self, epoch: Epoch, under: Under<'a>) -> Planned<'a> {
        Planned {
            limiter: self,
            epoch,
            under,
        }
    }

    /// Returns a plan without a name. This takes as long as some calls, so that what is used often should have a name.
    pub fn made(&self, epoch: Epoch, changes: &[Change]) -> Result<Made, UpdateError> {
        // Any stripe knows it, and none of them parks its caller.
        let base = self.table.nth(0, |stripe| stripe.generation(epoch.0))?;
        Made::new(base, changes.into())
    }

    /// Adds plans, or replaces those of the same name. No state is touched. Adds none of them if one cannot be kept.
    pub fn put_plans(&self, epoch: Epoch, plans: &[(Key, Vec<Change>)]) -> Result<(), UpdateError> {
        let mut control = self.control.lock();
        let base = control.generation(epoch)?;
        let known = base.plans.as_deref().cloned().unwrap_or_default();
        let plans = known.with(plans, base)?;
        self.replan(&mut control, epoch, plans)
    }

    /// Removes a plan, and returns whether it existed.
    pub fn remove_plan(&self, epoch: Epoch, name: Key) -> Result<bool, CallError> {
        let mut control = self.control.lock();
        let plans = &control.generation(epoch)?.plans;
        match plans.as_ref().and_then(|plans| plans.without(name)) {
            Some(plans) => self.replan(&mut control, epoch, plans).map(|()| true),
            None => Ok(false),
        }
    }

    fn replan<E: From<CallError>>(
        &self,
        control: &mut Control,
        epoch: Epoch,
        plans: Plans,
    ) -> Result<(), E> {
        let generation = Arc::new(control.generation(epoch)?.with_plans(plans));
        self.table.each(|stripe| stripe.replan(&generation));
        control.generation = Some(generation);
        Ok(())
    }
}

impl Planned<'_> {
    /// See [`Limiter::charge`].
    #[inline]
    pub fn charge(&self, key: Key, tag: Tag, cost: u64) -> Result<(Usage, Receipt), CallError> {
        self.run(key, cost, true, |call| self.limiter.decide_one(call, tag))
    }

    /// See [`Limiter::peek`].
    pub fn peek(&self, key: Key, tag: Tag, cost: u64) -> Result<Usage, CallError> {
        let (usage, _) = self.run(key, cost, false, |call| self.limiter.decide_one(call, tag))?;
        Ok(usage)
    }

    /// See [`Limiter::check_all`].
    pub fn check_all(&self, key: Key, select: Select, cost: u64) -> Result<Answer, CallError> {
        Ok(self.charge_all(key, select, cost)?.0)
    }

    /// See [`Limiter::charge_all`].
    pub fn charge_all(
        &self,
        key: Key,
        select: Select,
        cost: u64,
    ) -> Result<(Answer, Receipt), CallError> {
        self.run(key, cost, true, |call| {
            self.limiter.decide_all(call, select)
        })
    }

    /// See [`Limiter::peek_all`].
    pub fn peek_all(&self, key: Key, select: Select, cost: u64) -> Result<Answer, CallError> {
        let (answer, _) = self.run(key, cost, false, |call| {
            self.limiter.decide_all(call, select)
        })?;
        Ok(answer)
    }

    /// See [`Limiter::check_once`].
    pub fn check_once(
        &self,
        key: Key,
        select: Select,
        cost: u64,
        once: Once,
    ) -> Result<(Answer, Receipt), CallError> {
        self.run(key, cost, true, |call| {
            self.limiter.decide_once(call, select, once)
        })
    }

    /// See [`Limiter::refund`].
    pub fn refund(&self, key: Key, select: Select, cost: u64) -> Result<Answer, CallError> {
        self.run(key, cost, false, |call| {
            self.limiter.refund_all(call, select)
        })
    }

    /// See [`Limiter::give_back`]. Also nothing is given back if the key was charged under another rate or period since.
    pub fn give_back(
        &self,
        key: Key,
        select: Select,
        receipt: Receipt,
        charged: u64,
        cost: u64,
    ) -> Result<Answer, CallError> {
        self.run(key, cost, false, |call| {
            self.limiter.give_back_all(call, select, receipt, charged)
        })
    }

    /// See [`Limiter::passes`].
    #[must_use]
    pub fn passes(&self, key: Key, (tag, usage): (Tag, &Usage), cost: u64, share: Scale) -> bool {
        crosses(usage, cost, share)
            && self
                .run(key, 0, false, |call| self.limiter.is_first_pass(call, tag))
                .unwrap_or(false)
    }

    /// See [`Limiter::snapshot`].
    pub fn snapshot(&self, key: Key, select: Select) -> Result<Option<Known>, CallError> {
        self.run(key, 0, false, |call| {
            self.limiter.with(key, |stripe| stripe.export(call, select))
        })
    }

    /// See [`Limiter::import`].
    pub fn import(&self, key: Key, known: &Known, how: Import) -> Result<bool, CallError> {
        self.run(key, 0, false, |call| {
            self.limiter
                .with(key, |stripe| stripe.import(call, known, how))
        })
    }

    #[inline]
    fn run<R>(
        &self,
        key: Key,
        cost: u64,
        takes: bool,
        decide: impl Fn(&Call) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let mut call = self.limiter.call(self.epoch, key, cost, takes);
        call.under = self.under;
        match (decide(&call), self.under) {
            (Err(CallError::UnknownPlan), Under::Made(made)) => self.run_again(call, made, decide),
            (result, _) => result,
        }
    }

    /// Makes the plan again, of the limits that the limiter has now.
    #[cold]
    fn run_again<R>(
        &self,
        call: Call,
        made: &Made,
        decide: impl Fn(&Call) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        loop {
            let made = match self.limiter.made(self.epoch, &made.changes) {
                Ok(made) => made,
                Err(UpdateError::Call(error)) => return Err(error),
                // It does not go together with the new limits.
                Err(UpdateError::Limit(_)) => return Err(CallError::UnknownPlan),
            };
            let under = Under::Made(&made);
            match decide(&Call { under, ..call }) {
                Err(CallError::UnknownPlan) => (),
                result => return result,
            }
        }
    }
}

impl Generation {
    /// Returns this generation with plans.
    fn with_plans(&self, plans: Plans) -> Self {
        Self {
            longest: self.longest.max(plans.longest()),
            plan: self.plan.clone(),
            plans: Some(Arc::new(plans)),
            clock: self.clock.clone(),
            accounting: Arc::clone(&self.accounting),
            ..*self
        }
    }

    /// Returns this generation, which has none, with the plans of another.
    pub(super) fn with_plans_of(self, other: &Self) -> Arc<Self> {
        Arc::new(match &other.plans {
            Some(plans) => self.with_plans(plans.of(&self)),
            None => self,
        })
    }
}
