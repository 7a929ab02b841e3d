//! Plans: other limits for the windows of a limiter. A call names the one under which it is decided.
//!
//! All plans count in the same states, since none of them changes the shape of one. So what a key has used stays used
//! when its plan changes, as it does when a limit is updated: the next call converts the state. A plan is compiled when it
//! is put, to a generation of its own, so a call only has to look it up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::call::Tag;
use crate::clock::Nanos;
use crate::error::{CallError, LimitError, UpdateError};
use crate::key::Key;
use crate::limit::{Algorithm, Limit};
use crate::store::Generation;

/// What a plan changes of the limit of one window. The rest of it is that of the limiter, also after an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The window.
    pub tag: Tag,
    /// Another amount per period.
    pub limit: Option<u64>,
    /// Another period of a token bucket. All plans of another algorithm count in the period of the limiter: what counts in
    /// one period does not tell what counts in a longer one, so a change of plan would forget it.
    pub per: Option<Duration>,
    /// Another burst of a token bucket. Without it, a burst that the limiter does not state follows the amount.
    pub burst: Option<u64>,
    /// Whether the limit is enforced.
    pub is_enforced: Option<bool>,
}

/// The limits under which a call is decided.
#[derive(Clone, Copy, Debug, Default)]
pub enum Under<'a> {
    /// Those of the limiter.
    #[default]
    Own,
    /// Those of the plan with this name.
    Plan(Key),
    /// Those of a plan without a name.
    Made(&'a Made),
}

/// A plan without a name, for a few calls: see [`Limiter::made`](crate::Limiter::made).
#[derive(Debug)]
pub struct Made {
    pub(crate) changes: Box<[Change]>,
    /// That of the limiter when it was made: it is made again if that has changed.
    base: Arc<Generation>,
    generation: Generation,
}

/// The plans of a limiter by name: immutable, and replaced as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans(HashMap<Key, Plan, BuildHasherDefault<KeyHasher>>);

#[derive(Clone, Debug)]
struct Plan {
    changes: Arc<[Change]>,
    generation: Arc<Generation>,
}

/// Returns the last word of a key, which is a hash already.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Change {
    /// Returns the change of any limit of the same window to this one.
    #[must_use]
    pub fn to(tag: Tag, limit: &Limit) -> Self {
        Self {
            tag,
            limit: Some(limit.limit()),
            per: is_bucket(limit).then_some(limit.per()),
            burst: Some(limit.capacity()),
            is_enforced: Some(limit.is_enforced()),
        }
    }

    /// Returns the limit with this change, or an error if a plan cannot make it.
    pub fn apply(&self, limit: &Limit) -> Result<Limit, LimitError> {
        let per = match self.per {
            Some(_) if !is_bucket(limit) => return Err(LimitError::PeriodOfPlan),
            per => per.unwrap_or(limit.per()),
        };
        let changed = Limit::new(self.limit.unwrap_or(limit.limit()), per, limit.algorithm())
            .enforced(self.is_enforced.unwrap_or(limit.is_enforced()));
        Ok(match self.burst {
            Some(burst) => changed.with_burst(burst),
            None => changed,
        })
    }
}

fn is_bucket(limit: &Limit) -> bool {
    matches!(limit.algorithm(), Algorithm::TokenBucket { .. })
}

impl Made {
    pub(crate) fn new(base: Arc<Generation>, changes: Box<[Change]>) -> Result<Self, UpdateError> {
        let generation = base.changed(&changes)?;
        Ok(Self {
            changes,
            base,
            generation,
        })
    }
}

impl Plans {
    /// Returns these plans and `new`, as plans of `base`.
    pub(crate) fn with(
        &self,
        new: &[(Key, Vec<Change>)],
        base: &Generation,
    ) -> Result<Self, UpdateError> {
        let mut plans = self.clone();
        for (name, changes) in new {
            let plan = Plan::new(changes.as_slice().into(), base)?;
            plans.0.insert(*name, plan);
        }
        Ok(plans)
    }

    /// Returns these plans without one; `None` if it does not exist.
    pub(crate) fn without(&self, name: Key) -> Option<Self> {
        let mut plans = self.clone();
        plans.0.remove(&name).map(|_| plans)
    }

    /// Returns the same plans of another base. A limit that cannot be kept together with it stays as it is.
    pub(crate) fn of(&self, base: &Generation) -> Self {
        let plans = self.0.iter().map(|(name, plan)| (*name, plan.of(base)));
        Self(plans.collect())
    }

    /// Returns the longest time for which a use counts in any plan.
    pub(crate) fn longest(&self) -> Nanos {
        let plans = self.0.values().map(|plan| plan.generation.longest);
        plans.max().unwrap_or_default()
    }
}

impl Plan {
    fn new(changes: Arc<[Change]>, base: &Generation) -> Result<Self, UpdateError> {
        let generation = Arc::new(base.changed(&changes)?);
        Ok(Self {
            changes,
            generation,
        })
    }
}

impl Plan {
    fn of(&self, base: &Generation) -> Self {
        let kept = |change: &Change| match base.changed(&[*change]) {
            Ok(_) => *change,
            Err(_) => self.present(change.tag),
        };
        let kept: Vec<Change> = self.changes.iter().map(kept).collect();
        let generation = base.changed(&kept).expect("limits that are kept now");
        Self {
            changes: Arc::clone(&self.changes),
            generation: Arc::new(generation),
        }
    }

    /// Returns the present limit of a window as a change of any other.
    fn present(&self, tag: Tag) -> Change {
        let mut windows = self.generation.plan.windows().iter();
        let window = windows.find(|window| window.tag == tag);
        Change::to(tag, &window.expect("a window of the limiter").limit)
    }
}

impl Generation {
    /// Returns the generation under which a call is decided.
    #[inline]
    pub(crate) fn under<'a>(self: &'a Arc<Self>, under: Under<'a>) -> Result<&'a Self, CallError> {
        match under {
            Under::Own => Ok(self),
            Under::Plan(name) => {
                let plan = self.plans.as_ref().and_then(|plans| plans.0.get(&name));
                plan.map(|plan| &*plan.generation)
                    .ok_or(CallError::UnknownPlan)
            }
            Under::Made(made) if Arc::ptr_eq(&made.base, self) => Ok(&made.generation),
            Under::Made(_) => Err(CallError::UnknownPlan),
        }
    }

    /// Returns this generation with other limits, and without plans.
    fn changed(&self, changes: &[Change]) -> Result<Self, UpdateError> {
        let mut plan = self.plan.clone();
        let mut longest = self.longest;
        for change in changes {
            let limit = change.apply(&plan.window(change.tag)?.limit)?;
            plan = plan.with_limits(&[(change.tag, limit.clone())], self.offset_to_unix)?;
            longest = longest.max(limit.longest_use());
        }
        Ok(Self {
            plan,
            plans: None,
            longest,
            clock: self.clock.clone(),
            accounting: Arc::clone(&self.accounting),
            ..*self
        })
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}
