//! A part of a limiter's keys, with all that deciding about them needs: what one lock guards.

use std::sync::Arc;

use crate::call::{Call, Select, Tag};
use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::snapshot::{Import, Known};
use crate::verdict::Usage;

use super::generation::Generation;
use super::layout::Extent;
use super::states::{States, HOT_BYTES};

/// Vacant by default. In this order, so that all that most calls touch lies, with the lock, on one cache line: a core that
/// was not the last to be here waits for that line, then for the key's own.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Stripe {
    generation: Option<Arc<Generation>>,
    /// How many bits of an address all keys here share: the stripe's number.
    level: u32,
    states: States,
}

const _: () = {
    let lock = size_of::<u64>();
    assert!(lock + std::mem::offset_of!(Stripe, states) + HOT_BYTES <= 64);
};

impl Stripe {
    /// An empty stripe on these terms.
    pub(crate) fn new(generation: &Arc<Generation>, level: u32) -> Self {
        Self {
            generation: Some(Arc::clone(generation)),
            level,
            states: States::default(),
        }
    }

    /// Goes on under other terms of the same shape.
    pub(crate) fn renew(&mut self, generation: &Arc<Generation>) {
        self.generation = Some(Arc::clone(generation));
    }

    /// Whether the keys of this address belong here, stripe `number`: some may have left when the stripe was split.
    /// A vacant stripe answers for all, that there is no limiter.
    #[inline]
    pub(crate) fn owns(&self, address: usize, number: usize) -> bool {
        address & ((1 << self.level) - 1) == number || self.generation.is_none()
    }

    /// Makes another stripe of the keys whose address has the next bit set.
    pub(crate) fn split(&mut self, address: impl Fn(u64) -> usize) -> Self {
        let mut other = Self {
            generation: self.generation.clone(),
            level: self.level + 1,
            states: States::default(),
        };
        if let Some(generation) = &self.generation {
            let leaves = |high| address(high) >> self.level & 1 == 1;
            self.states.split(generation, &mut other.states, leaves);
        }
        self.level += 1;
        other
    }

    /// Judges one window and, if the call says so, takes. The answer is written in place: handed up through closures it
    /// would be copied at each step.
    #[inline]
    pub(crate) fn check(
        &mut self,
        call: &Call,
        tag: Tag,
        usage: &mut Usage,
    ) -> Result<(), CallError> {
        let (generation, states) = self.open(call.epoch)?;
        let window = generation.plan.window(tag)?;
        let now = generation.clock.read(call.monotonic);
        *usage = states.check(generation, window, call, now);
        Ok(())
    }

    /// Judges several windows together: all take, or none. Pushes what each says, in the plan's order.
    pub(crate) fn check_all(
        &mut self,
        call: &Call,
        select: Select,
        usages: &mut Vec<(Tag, Usage)>,
    ) -> Result<(), CallError> {
        let (generation, states) = self.open(call.epoch)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(call.monotonic);
        states.check_all(generation, select, call, now, usages);
        Ok(())
    }

    /// Gives back the call's cost to the selected windows.
    pub(crate) fn refund(&mut self, call: &Call, select: Select) -> Result<(), CallError> {
        let (generation, states) = self.open(call.epoch)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(call.monotonic);
        states.refund(generation, select, call, now);
        Ok(())
    }

    /// Forgets what the key has used of the selected windows.
    pub(crate) fn reset(&mut self, call: &Call, select: Select) -> Result<(), CallError> {
        let (generation, states) = self.open(call.epoch)?;
        generation.plan.covers(select)?;
        states.reset(generation, select, call.key);
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
        let (generation, states) = self.open(epoch)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(monotonic);
        Ok(states.export(generation, select, key, now))
    }

    /// The time since 1970.
    pub(crate) fn unix(&mut self, epoch: u32, monotonic: Nanos) -> Result<Nanos, CallError> {
        let (generation, _) = self.open(epoch)?;
        let now = generation.clock.read(monotonic);
        Ok(now.saturating_add(generation.offset_to_unix))
    }

    /// Goes on from what is known of the key elsewhere. Returns whether there was room for it.
    pub(crate) fn import(
        &mut self,
        epoch: u32,
        key: Key,
        known: &Known,
        how: Import,
        monotonic: Nanos,
    ) -> Result<bool, CallError> {
        let (generation, states) = self.open(epoch)?;
        let mut windows = known.windows.iter();
        windows.try_for_each(|(tag, _)| generation.plan.window(*tag).map(drop))?;
        let now = generation.clock.read(monotonic);
        Ok(states.import(generation, key, known, how, now))
    }

    /// Forgets idle keys. Returns how many.
    pub(crate) fn sweep(&mut self, epoch: u32, monotonic: Nanos) -> Result<usize, CallError> {
        let (generation, states) = self.open(epoch)?;
        Ok(states.sweep(generation, generation.clock.read(monotonic)))
    }

    /// Whether it has more keys than it should, of which some came since there were `before`.
    #[inline]
    pub(crate) fn has_become_crowded(&self, before: usize) -> bool {
        let generation = self.generation.as_deref();
        self.states.keys() > before
            && generation.is_some_and(|generation| self.states.is_crowded(generation))
    }

    /// Where its keys lie.
    #[inline]
    pub(crate) fn extent(&self) -> Extent {
        let generation = self.generation.as_deref();
        generation.map_or_else(Extent::default, |generation| self.states.extent(generation))
    }

    #[inline]
    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    #[inline]
    fn open(&mut self, epoch: u32) -> Result<(&Generation, &mut States), CallError> {
        match self.generation.as_deref() {
            Some(generation) if generation.epoch == epoch => Ok((generation, &mut self.states)),
            _ => Err(CallError::UnknownLimiter),
        }
    }
}
