//! A part of the keys of a limiter, with all that a decision needs: what one lock guards.

use std::sync::Arc;

use crate::call::{Call, Receipt, Select, Tag};
use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::plan::Plan;
use crate::scale::Scale;
use crate::snapshot::{Import, Known};
use crate::stats::Preview;
use crate::sync::AtomicU64;
use crate::verdict::{Usage, Usages};

use super::generation::Generation;
use super::layout::Extent;
use super::states::{Charge, Forgotten, States, HOT_BYTES};

/// Closed by default. The order of fields matters: with the lock, all that most calls touch lies on one cache line. A
/// core that was not the last here waits for that line, then for the line of the key.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Stripe {
    generation: Option<Arc<Generation>>,
    /// How many bits of an address all keys here have in common: the number of the stripe.
    level: u32,
    states: States,
}

const _: () = {
    let lock = size_of::<u64>();
    assert!(lock + std::mem::offset_of!(Stripe, states) + HOT_BYTES <= 64);
};

impl Stripe {
    /// Returns an empty stripe.
    pub(crate) fn new(generation: &Arc<Generation>, level: u32) -> Self {
        Self {
            generation: Some(Arc::clone(generation)),
            level,
            states: States::after(generation.first_serial),
        }
    }

    /// Continues under another generation with states of the same shape. `old` is the present one, with accounts of its
    /// own.
    pub(crate) fn renew(
        &mut self,
        generation: &Arc<Generation>,
        old: &Arc<Generation>,
        monotonic: Nanos,
    ) {
        let now = generation.clock.read(monotonic);
        self.states.change(old, generation, now);
        self.generation = Some(Arc::clone(generation));
    }

    /// Continues under another generation, whose own limits are the same.
    pub(crate) fn replan(&mut self, generation: &Arc<Generation>) {
        self.generation = Some(Arc::clone(generation));
    }

    /// As `renew`, with another distance to UTC.
    pub(crate) fn follow(&mut self, generation: &Arc<Generation>, monotonic: Nanos) {
        if let Some(old) = self.generation.replace(Arc::clone(generation)) {
            let now = generation.clock.read(monotonic);
            self.states.follow(generation, old.offset_to_unix, now);
            self.states.renew_calls();
        }
    }

    /// Returns whether keys of this address belong to this stripe, `number`: a split may have moved them. A closed
    /// stripe owns all keys, and returns to all calls that the limiter is unknown.
    #[inline]
    pub(crate) fn owns(&self, address: usize, number: usize) -> bool {
        address & ((1 << self.level) - 1) == number || self.generation.is_none()
    }

    /// Moves the keys whose address has the next bit set to a new stripe.
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

    /// Decides one window and, if the call takes, takes. The answer is written in place: returned through closures it
    /// would be copied at each step.
    #[inline]
    pub(crate) fn check(
        &mut self,
        call: &Call,
        tag: Tag,
        usage: &mut Usage,
    ) -> Result<Receipt, CallError> {
        let (generation, states) = self.open_for(call)?;
        let window = generation.plan.window(tag)?;
        let now = generation.clock.read(call.monotonic);
        *usage = states.check(generation, window, call, now)?;
        Ok(states.receipt(now))
    }

    /// Decides several windows together: all take, or none. The usages of all are in the order of the plan.
    pub(crate) fn check_all(
        &mut self,
        call: &Call,
        select: Select,
        usages: &mut Usages,
    ) -> Result<Receipt, CallError> {
        let (generation, states) = self.open_for(call)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(call.monotonic);
        states.check_all(generation, select, call, now, usages)?;
        Ok(states.receipt(now))
    }

    /// Returns the cost of the call to the selected windows.
    pub(crate) fn refund(&mut self, call: &Call, select: Select) -> Result<(), CallError> {
        let (generation, states) = self.open_for(call)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(call.monotonic);
        states.refund(generation, select, call, now)
    }

    /// Returns the cost of the call to the selected windows: at most what still counts of the call that was charged.
    pub(crate) fn give_back(
        &mut self,
        call: &Call,
        select: Select,
        charge: &Charge,
    ) -> Result<(), CallError> {
        let (generation, states) = self.open_for(call)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(call.monotonic);
        states.give_back(generation, select, call, charge, now)
    }

    /// Returns whether the key has a state of its own. [`CallError::NoRoom`] if it is judged together with others.
    pub(crate) fn knows(&mut self, call: &Call) -> Result<bool, CallError> {
        let (generation, states) = self.open_for(call)?;
        let now = generation.clock.read(call.monotonic);
        states.knows(generation, call.key, now)
    }

    /// Returns the longest time for which a use counts in any window.
    pub(crate) fn longest(&mut self, epoch: u32) -> Result<Nanos, CallError> {
        let (generation, _) = self.open(epoch)?;
        Ok(generation.longest)
    }

    /// Forgets what the key has used of the selected windows.
    pub(crate) fn reset(&mut self, call: &Call, select: Select) -> Result<(), CallError> {
        let (generation, states) = self.open_for(call)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(call.monotonic);
        states.reset(generation, select, call.key, now)
    }

    /// Returns all its keys.
    pub(crate) fn keys(&mut self, epoch: u32) -> Result<Vec<Key>, CallError> {
        let (generation, states) = self.open(epoch)?;
        Ok(states.all_keys(generation))
    }

    /// Returns what the key has used of the selected windows, if it has a state of its own.
    pub(crate) fn export(
        &mut self,
        call: &Call,
        select: Select,
    ) -> Result<Option<Known>, CallError> {
        let (generation, states) = self.open_for(call)?;
        generation.plan.covers(select)?;
        let now = generation.clock.read(call.monotonic);
        Ok(states.export(generation, select, call.key, now))
    }

    /// Returns the period of a window, and the total of the calls that passed its threshold.
    pub(crate) fn threshold<'a>(
        &'a mut self,
        call: &'a Call,
        tag: Tag,
    ) -> Result<(Nanos, &'a AtomicU64), CallError> {
        let (generation, _) = self.open_for(call)?;
        let window = generation.plan.window(tag)?;
        let passed = &generation.accounting.totals.passed[window.index];
        Ok((Nanos::from(window.limit.per()), passed))
    }

    /// Returns the value of a note that holds now.
    pub(crate) fn note(
        &mut self,
        epoch: u32,
        name: Key,
        monotonic: Nanos,
    ) -> Result<Option<u64>, CallError> {
        let (generation, states) = self.open(epoch)?;
        let now = generation.clock.read(monotonic);
        Ok(states.note(generation, name, now))
    }

    /// Writes a note that holds for `keep` from now on. Returns whether there was room for it.
    pub(crate) fn put_note(
        &mut self,
        epoch: u32,
        name: Key,
        value: u64,
        keep: Nanos,
        monotonic: Nanos,
    ) -> Result<bool, CallError> {
        let (generation, states) = self.open(epoch)?;
        let now = generation.clock.read(monotonic);
        let until = now.saturating_add(keep);
        Ok(states.put_note(generation, name, value, until, now))
    }

    /// Returns the name of a call with the id `id`: another one for each cost and each choice of windows.
    pub(crate) fn name(&mut self, call: &Call, select: Select, id: Key) -> Result<Key, CallError> {
        let (generation, _) = self.open(call.epoch)?;
        generation.plan.covers(select)?;
        let named = call.key.and(id).and_number(call.cost);
        let windows = generation.plan.selected(select);
        Ok(windows.fold(named, |name, window| name.and_number(window.tag)))
    }

    #[inline]
    pub(crate) fn states_mut(&mut self) -> &mut States {
        &mut self.states
    }

    /// Imports what another store knows of the key. Returns whether there was room for it.
    pub(crate) fn import(
        &mut self,
        call: &Call,
        known: &Known,
        how: Import,
    ) -> Result<bool, CallError> {
        let (generation, states) = self.open_for(call)?;
        let mut windows = known.windows.iter();
        windows.try_for_each(|(tag, _)| generation.plan.window(*tag).map(drop))?;
        let now = generation.clock.read(call.monotonic);
        Ok(states.import(generation, call.key, known, how, now))
    }

    /// Returns the generation under which the stripe is used.
    pub(crate) fn generation(&self, epoch: u32) -> Result<Arc<Generation>, CallError> {
        match &self.generation {
            Some(generation) if generation.epoch == epoch => Ok(Arc::clone(generation)),
            _ => Err(CallError::UnknownLimiter),
        }
    }

    /// Returns what another plan with states of the same shape would do to the keys.
    pub(crate) fn preview(&self, plan: &Plan, monotonic: Nanos, scale: Scale) -> Preview {
        let Some(generation) = self.generation.as_deref() else {
            return Preview::default();
        };
        let now = generation.clock.read(monotonic);
        self.states.preview(generation, plan, now, scale)
    }

    /// Forgets all keys and ends all calls. Returns what the keys have used, to be freed outside of the lock.
    pub(crate) fn forget(&mut self) -> Option<Forgotten> {
        let generation = self.generation.as_deref()?;
        Some(self.states.forget(generation))
    }

    /// Forgets idle keys, and returns how many.
    pub(crate) fn sweep(&mut self, epoch: u32, monotonic: Nanos) -> Result<usize, CallError> {
        let (generation, states) = self.open(epoch)?;
        Ok(states.sweep(generation, generation.clock.read(monotonic)))
    }

    /// Returns whether it has more keys than it should, and more than `before`.
    #[inline]
    pub(crate) fn has_become_crowded(&self, before: usize) -> bool {
        let generation = self.generation.as_deref();
        self.states.keys() > before
            && generation.is_some_and(|generation| self.states.is_crowded(generation))
    }

    /// Returns where its keys lie.
    #[inline]
    pub(crate) fn extent(&self) -> Extent {
        let generation = self.generation.as_deref();
        generation.map_or_else(Extent::default, |generation| self.states.extent(generation))
    }

    #[inline]
    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    /// As `open`, with the generation of the plan that the call names.
    #[inline]
    fn open_for<'a>(
        &'a mut self,
        call: &'a Call,
    ) -> Result<(&'a Generation, &'a mut States), CallError> {
        match &self.generation {
            Some(generation) if generation.epoch == call.epoch => {
                Ok((generation.under(call.under)?, &mut self.states))
            }
            _ => Err(CallError::UnknownLimiter),
        }
    }

    #[inline]
    fn open(&mut self, epoch: u32) -> Result<(&Generation, &mut States), CallError> {
        match self.generation.as_deref() {
            Some(generation) if generation.epoch == epoch => Ok((generation, &mut self.states)),
            _ => Err(CallError::UnknownLimiter),
        }
    }
}
