//! A part of a limiter's keys, with all that deciding about them needs: what one lock guards.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::plan::{Select, Tag};
use crate::scale::Scale;
use crate::snapshot::Known;
use crate::verdict::Usage;

use super::hint::Extent;
use super::keeper::{Adopt, Keeper, HOT_BYTES};
use super::tenancy::Tenancy;

/// A call, but for the windows that it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) epoch: u32,
    pub(crate) key: Key,
    pub(crate) cost: u64,
    pub(crate) scale: Scale,
    /// A reading of the monotonic clock, from before the lock was taken.
    pub(crate) monotonic: Nanos,
    /// Whether to take the cost, if all allow it.
    pub(crate) takes: bool,
}

/// Vacant by default. In this order, so that all that most calls touch lies, with the lock, on one cache line: a core that
/// was not the last to be here waits for that line, then for the key's own.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Stripe {
    tenancy: Option<Arc<Tenancy>>,
    /// How many bits of an address all keys here share: the stripe's number.
    level: u32,
    keeper: Keeper,
}

const _: () = {
    let lock = size_of::<u64>();
    assert!(lock + std::mem::offset_of!(Stripe, keeper) + HOT_BYTES <= 64);
};

impl Stripe {
    /// An empty stripe on these terms.
    pub(crate) fn let_to(tenancy: &Arc<Tenancy>, level: u32) -> Self {
        Self {
            tenancy: Some(Arc::clone(tenancy)),
            level,
            keeper: Keeper::default(),
        }
    }

    /// Goes on under other terms of the same shape.
    pub(crate) fn renew(&mut self, tenancy: &Arc<Tenancy>) {
        self.tenancy = Some(Arc::clone(tenancy));
    }

    /// Whether the keys of this address belong here, stripe `number`: some may have left when the stripe was split.
    /// A vacant stripe answers for all, that there is no limiter.
    #[inline]
    pub(crate) fn owns(&self, address: usize, number: usize) -> bool {
        address & ((1 << self.level) - 1) == number || self.tenancy.is_none()
    }

    /// Makes another stripe of the keys whose address has the next bit set.
    pub(crate) fn split(&mut self, address: impl Fn(u64) -> usize) -> Self {
        let mut other = Self {
            tenancy: self.tenancy.clone(),
            level: self.level + 1,
            keeper: Keeper::default(),
        };
        if let Some(tenancy) = &self.tenancy {
            let leaves = |high| address(high) >> self.level & 1 == 1;
            self.keeper.split(tenancy, &mut other.keeper, leaves);
        }
        self.level += 1;
        other
    }

    /// Judges one window and, if the call says so, takes. The answer is written in place: handed up through closures it
    /// would be copied at each step.
    #[inline]
    pub(crate) fn ask(&mut self, ask: &Ask, tag: Tag, usage: &mut Usage) -> Result<(), CallError> {
        let (tenancy, keeper) = self.open(ask.epoch)?;
        let window = tenancy.plan.window(tag)?;
        let now = tenancy.clock.read(ask.monotonic);
        *usage = keeper.ask(tenancy, window, ask, now);
        Ok(())
    }

    /// Judges several windows together: all take, or none. Pushes what each says, in the plan's order.
    pub(crate) fn ask_all(
        &mut self,
        ask: &Ask,
        select: Select,
        usages: &mut Vec<(Tag, Usage)>,
    ) -> Result<(), CallError> {
        let (tenancy, keeper) = self.open(ask.epoch)?;
        tenancy.plan.covers(select)?;
        let now = tenancy.clock.read(ask.monotonic);
        keeper.ask_all(tenancy, select, ask, now, usages);
        Ok(())
    }

    /// Gives back the call's cost to the selected windows.
    pub(crate) fn refund(&mut self, ask: &Ask, select: Select) -> Result<(), CallError> {
        let (tenancy, keeper) = self.open(ask.epoch)?;
        tenancy.plan.covers(select)?;
        let now = tenancy.clock.read(ask.monotonic);
        keeper.refund(tenancy, select, ask, now);
        Ok(())
    }

    /// Forgets what the key has used of the selected windows.
    pub(crate) fn reset(&mut self, ask: &Ask, select: Select) -> Result<(), CallError> {
        let (tenancy, keeper) = self.open(ask.epoch)?;
        tenancy.plan.covers(select)?;
        keeper.reset(tenancy, select, ask.key);
        Ok(())
    }

    /// What the key has used of the selected windows, if it has a state of its own.
    pub(crate) fn export(
        &mut self,
        epoch: u32,
        key: Key,
        select: Select,
        monotonic: Nanos,
    ) -> Result<Option<Known>, CallError> {
        let (tenancy, keeper) = self.open(epoch)?;
        tenancy.plan.covers(select)?;
        let now = tenancy.clock.read(monotonic);
        Ok(keeper.export(tenancy, select, key, now))
    }

    /// The time since 1970.
    pub(crate) fn unix(&mut self, epoch: u32, monotonic: Nanos) -> Result<Nanos, CallError> {
        let (tenancy, _) = self.open(epoch)?;
        let now = tenancy.clock.read(monotonic);
        Ok(now.saturating_add(tenancy.offset_to_unix))
    }

    /// Goes on from what is known of the key elsewhere. Returns whether there was room for it.
    pub(crate) fn adopt(
        &mut self,
        epoch: u32,
        key: Key,
        known: &Known,
        how: Adopt,
        monotonic: Nanos,
    ) -> Result<bool, CallError> {
        let (tenancy, keeper) = self.open(epoch)?;
        let mut windows = known.windows.iter();
        windows.try_for_each(|(tag, _)| tenancy.plan.window(*tag).map(drop))?;
        let now = tenancy.clock.read(monotonic);
        Ok(keeper.adopt(tenancy, key, known, how, now))
    }

    /// Forgets idle keys. Returns how many.
    pub(crate) fn sweep(&mut self, epoch: u32, monotonic: Nanos) -> Result<usize, CallError> {
        let (tenancy, keeper) = self.open(epoch)?;
        Ok(keeper.sweep(tenancy, tenancy.clock.read(monotonic)))
    }

    /// Whether it has more keys than it should, of which some came since there were `before`.
    #[inline]
    pub(crate) fn has_become_crowded(&self, before: usize) -> bool {
        let tenancy = self.tenancy.as_deref();
        self.keeper.keys() > before
            && tenancy.is_some_and(|tenancy| self.keeper.is_crowded(tenancy))
    }

    /// Where its keys lie.
    #[inline]
    pub(crate) fn extent(&self) -> Extent {
        let tenancy = self.tenancy.as_deref();
        tenancy.map_or_else(Extent::default, |tenancy| self.keeper.extent(tenancy))
    }

    #[inline]
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    #[inline]
    fn open(&mut self, epoch: u32) -> Result<(&Tenancy, &mut Keeper), CallError> {
        match self.tenancy.as_deref() {
            Some(tenancy) if tenancy.epoch == epoch => Ok((tenancy, &mut self.keeper)),
            _ => Err(CallError::UnknownLimiter),
        }
    }
}
