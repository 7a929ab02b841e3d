//! The states of the keys of a stripe, and which of them stay when there is no room.
//!
//! A key that has used something is never forgotten: that would be a free reset. If the budget is spent, and no key of
//! the stripe is idle, new keys share one overflow state. Each of them is decided by what all of them took: perhaps
//! denied too early, never admitted too often. Keys with a slot stay exact. A new key that gets a slot later starts
//! with the overflow state, since it may have caused it.

mod change;
mod counts;
mod former;
mod notes;
mod snapshot;
mod split;

use crate::algorithm::{Logs, State};
use crate::call::{Call, Receipt, Select};
use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::plan::{Plan, Window};
use crate::stats::Stats;
use crate::verdict::{self, Usage, Usages};

use super::generation::{Generation, Totals};
use super::layout::Extent;
use super::segment::{Segment, KEY_WORDS};
pub(crate) use change::Forgotten;
use counts::Others;
use former::Copies;

/// A stripe with more bytes of keys should split. A split or a growth moves so much, within some microseconds.
const CROWDED_BYTES: usize = 16 * 1024;

/// With fewer keys a stripe does not split: its rows are so large that stripes of one or two keys would be half empty.
const CROWDED_KEYS: usize = 4;

/// The bit of a check's number at which the age of the windows begins. Fewer checks than that have one age.
const AGE_AT: u32 = 40;

/// The order of fields matters: what every call touches comes first, see `Stripe`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct States {
    segment: Segment,
    /// The number of the last check. The checks of a key have increasing numbers, also after its move to another stripe.
    serial: u64,
    /// The checks that the first window has denied. Its line is the one that each call has anyway.
    denied: u64,
    logs: Logs,
    overflow: Option<Box<Overflow>>,
    /// The number at which it began to count.
    first: u64,
    /// The checks up to this number are over: those of one key were to be, and there was no room to note which.
    over: u64,
    /// The checks of the other windows, from the first of them on.
    others: Others,
    /// From before changes of a period. One word, since a stripe has no room for more.
    copies: Option<Box<Copies>>,
}

/// Bytes at the beginning that a call for a known key touches.
pub(crate) const HOT_BYTES: usize = std::mem::offset_of!(States, logs);

/// The state of the keys that found no room. A pointer to it is one word.
#[derive(Clone, Debug)]
struct Overflow(Box<[u64]>);

/// What is left of a call, and when it was charged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) at: Nanos,
    /// The part of its cost that was not given back.
    pub(crate) left: u64,
}

/// The state by which a call is decided.
#[derive(Clone, Copy)]
enum Found {
    /// The key's own state, which begins at this word.
    Own(usize),
    Overflow,
    Blank,
}

impl States {
    /// Returns states without keys, whose first check gets the number after `serial`.
    pub(crate) fn after(serial: u64) -> Self {
        Self {
            serial,
            first: serial,
            over: serial,
            ..Self::default()
        }
    }

    #[inline]
    pub(crate) fn check(
        &mut self,
        generation: &Generation,
        window: &Window,
        call: &Call,
        now: Nanos,
    ) -> Result<Usage, CallError> {
        if call.takes && generation.plan.is_plain() {
            // Nearly every call: the key is known, and its whole state lies in its slot.
            if let Some(at) = self.segment.find(call.key, stride(&generation.plan)) {
                let slot = self.slot_at(&generation.plan, at);
                let state = window.state(slot);
                let usage = window.meter.take(state, now, call.cost, call.scale, true);
                self.count(&generation.plan, window, usage.allowed());
                return Ok(usage);
            }
        }
        self.check_slowly(generation, window, call, now)
    }

    /// As `check`, also for a key without a slot, or with a log, and for a window in shadow mode.
    #[inline(never)]
    fn check_slowly(
        &mut self,
        generation: &Generation,
        window: &Window,
        call: &Call,
        now: Nanos,
    ) -> Result<Usage, CallError> {
        let mut found = self.find(generation, call.key, now);
        self.renew(generation, found, window, now);
        let usage = self.decide(generation, found, window, call, now, call.cost);
        if call.takes {
            if usage.fits() && call.cost > 0 {
                if !matches!(found, Found::Own(_)) {
                    found = self.find_room(generation, call, now)?;
                }
                self.take(generation, found, window, call, now);
            }
            self.count(&generation.plan, window, usage.allowed());
            generation.count_shadow(window, &usage);
        }
        Ok(usage)
    }

    pub(crate) fn check_all(
        &mut self,
        generation: &Generation,
        select: Select,
        call: &Call,
        now: Nanos,
        usages: &mut Usages,
    ) -> Result<(), CallError> {
        let mut found = self.find(generation, call.key, now);
        usages.clear();
        for window in generation.plan.selected(select) {
            self.renew(generation, found, window, now);
            let usage = self.decide(generation, found, window, call, now, call.cost);
            usages.push((window.tag, usage));
        }
        let allowed = usages.iter().all(|(_, usage)| usage.allowed());
        if !allowed {
            // Nothing is taken: the windows that admit the call report what they have now.
            let selected = generation.plan.selected(select).zip(&mut *usages);
            for (window, (_, usage)) in selected.filter(|(_, (_, usage))| usage.allowed()) {
                *usage = self.decide(generation, found, window, call, now, 0);
            }
        } else if call.takes && call.cost > 0 {
            let fits = |(_, usage): &(_, Usage)| usage.fits();
            if !matches!(found, Found::Own(_)) && usages.iter().any(fits) {
                found = self.find_room(generation, call, now)?;
            }
            let selected = generation.plan.selected(select).zip(&*usages);
            for (window, _) in selected.filter(|(_, usage)| fits(usage)) {
                self.take(generation, found, window, call, now);
            }
        }
        if call.takes {
            for (window, (_, usage)) in generation.plan.selected(select).zip(&*usages) {
                generation.count_shadow(window, usage);
            }
            let binding = verdict::binding(usages);
            let mut windows = generation.plan.selected(select);
            if let Some(window) = windows.nth(binding) {
                self.count(&generation.plan, window, allowed);
            }
        }
        Ok(())
    }

    pub(crate) fn refund(
        &mut self,
        generation: &Generation,
        select: Select,
        call: &Call,
        now: Nanos,
    ) -> Result<(), CallError> {
        let own = self.own(generation, call.key, now)?;
        self.each_copy(|states, generation| {
            // Cannot fail: a copy has no key that is judged together with others.
            let _ = states.refund(generation, select, call, now);
        });
        let Some(at) = own else {
            return Ok(());
        };
        for window in generation.plan.selected(select) {
            self.renew(generation, Found::Own(at), window, now);
            let slot = self.slot_at(&generation.plan, at);
            window.meter.refund(window.state(slot), now, call.cost);
        }
        Ok(())
    }

    /// Returns the cost of `call` to the selected windows: at most what still counts of the call that was charged.
    pub(crate) fn give_back(
        &mut self,
        generation: &Generation,
        select: Select,
        call: &Call,
        charge: &Charge,
        now: Nanos,
    ) -> Result<(), CallError> {
        let own = self.own(generation, call.key, now)?;
        self.each_copy(|states, generation| {
            // Cannot fail, as above.
            let _ = states.give_back(generation, select, call, charge, now);
        });
        let Some(at) = own else {
            return Ok(());
        };
        for window in generation.plan.selected(select) {
            let state = window.state(self.slot_at(&generation.plan, at));
            // Under another plan the call drains at another rate, so it is unknown what still counts of it.
            if window.meter.wrote(&state) {
                let Charge { at, left } = *charge;
                window.meter.give_back(state, now, at, left, call.cost);
            }
        }
        Ok(())
    }

    /// Returns whether the key has a state of its own.
    pub(crate) fn knows(
        &mut self,
        generation: &Generation,
        key: Key,
        now: Nanos,
    ) -> Result<bool, CallError> {
        self.own(generation, key, now).map(|at| at.is_some())
    }

    pub(crate) fn reset(
        &mut self,
        generation: &Generation,
        select: Select,
        key: Key,
        now: Nanos,
    ) -> Result<(), CallError> {
        let own = self.own(generation, key, now)?;
        self.reset_copies(select, key, now);
        let Some(at) = own else {
            return Ok(());
        };
        let heap = self.logs.units();
        for window in generation.plan.selected(select) {
            let slot = self.slot_at(&generation.plan, at);
            window.meter.clear(window.state(slot));
        }
        generation.accounting.budget.adjust(heap, self.logs.units());
        self.remove_if_blank(generation, at);
        Ok(())
    }

    /// Returns where the key's own state begins; `None` if the key has used nothing. A use in the overflow state may be
    /// another key's, so it cannot be given back.
    fn own(
        &mut self,
        generation: &Generation,
        key: Key,
        now: Nanos,
    ) -> Result<Option<usize>, CallError> {
        match self.find(generation, key, now) {
            Found::Own(at) => Ok(Some(at)),
            Found::Overflow => Err(CallError::NoRoom),
            Found::Blank => Ok(None),
        }
    }

    /// Removes the slot whose state begins at `at`, if nothing is used.
    fn remove_if_blank(&mut self, generation: &Generation, at: usize) {
        if *self.slot_at(&generation.plan, at).words == *generation.plan.blank() {
            self.segment.remove(at, stride(&generation.plan));
            generation.accounting.budget.adjust(1, 0);
        }
    }

    /// Forgets idle keys, and returns how many.
    pub(crate) fn sweep(&mut self, generation: &Generation, now: Nanos) -> usize {
        let heap = self.logs.units();
        let before = self.segment.keys();
        let logs = &mut self.logs;
        self.segment.retain_not(stride(&generation.plan), |state| {
            let idle = generation.is_idle(state, logs, now);
            if idle {
                clear_all(&generation.plan, state, logs);
            }
            idle
        });
        let swept = before - self.segment.keys();
        generation.accounting.budget.adjust(swept as u64, 0);
        generation.accounting.budget.adjust(heap, self.logs.units());
        Totals::count(&generation.accounting.totals.swept, swept as u64);
        self.forget_copies(now);
        if self.overflow.is_some() {
            // Frees the overflow state, and its part of the budget, if nothing in it counts as used any more.
            self.overflow_or_blank(generation, now);
        }
        swept
    }

    /// Converts all states from the distance to UTC of the generation before.
    pub(crate) fn follow(&mut self, generation: &Generation, old: Nanos, now: Nanos) {
        let plan = &generation.plan;
        let follow = |state: &mut [u64]| {
            for window in plan.windows() {
                window.meter.follow(&mut state[window.range()], old, now);
            }
        };
        self.segment
            .each_state(stride(plan), |_, state| follow(state));
        if let Some(state) = &mut self.overflow {
            follow(&mut state.0);
        }
        self.follow_copies(generation, old, now);
    }

    pub(crate) fn stats(&self) -> Stats {
        let overflow = self.overflow.as_deref();
        let overflow = overflow.map_or(0, |state| size_of_val(state) + size_of_val(&*state.0));
        Stats {
            keys: self.segment.keys() as u64,
            slots: self.segment.slots() as u64,
            bytes: (self.segment.bytes() + self.logs.bytes() + overflow + self.others.bytes())
                as u64
                + self.copies_bytes(),
            ..Stats::default()
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.segment.slots()
    }

    /// Returns the receipt of the check that was decided just now.
    #[inline]
    pub(crate) fn receipt(&self, now: Nanos) -> Receipt {
        Receipt {
            at: now,
            serial: self.serial,
        }
    }

    /// Returns the number of the last check.
    #[inline]
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Returns the number up to which all checks are over.
    pub(crate) fn over(&self) -> u64 {
        self.over
    }

    /// Ends all checks up to now.
    pub(crate) fn end_calls(&mut self) {
        self.over = self.serial;
    }

    /// Returns whether a check of this number can have been decided by the present windows.
    pub(crate) fn knows_call(&self, serial: u64) -> bool {
        serial <= self.serial && serial >> AGE_AT == self.serial >> AGE_AT
    }

    /// Records that the windows have changed: numbers continue with the next age.
    pub(crate) fn renew_calls(&mut self) {
        let next = ((self.serial >> AGE_AT) + 1) << AGE_AT;
        self.first += next - self.serial;
        self.serial = next;
    }

    /// Returns where the keys lie.
    #[inline]
    pub(crate) fn extent(&self, generation: &Generation) -> Extent {
        self.segment.extent(stride(&generation.plan))
    }

    #[inline]
    pub(crate) fn keys(&self) -> usize {
        self.segment.keys()
    }

    /// Returns whether there are more keys than a stripe should have.
    pub(crate) fn is_crowded(&self, generation: &Generation) -> bool {
        let keys = self.segment.keys();
        keys > CROWDED_KEYS && keys * stride(&generation.plan) * size_of::<u64>() > CROWDED_BYTES
    }

    #[inline]
    fn find(&mut self, generation: &Generation, key: Key, now: Nanos) -> Found {
        match self.segment.find(key, stride(&generation.plan)) {
            Some(at) => Found::Own(at),
            None if self.overflow.is_none() => Found::Blank,
            None => self.overflow_or_blank(generation, now),
        }
    }

    #[cold]
    fn overflow_or_blank(&mut self, generation: &Generation, now: Nanos) -> Found {
        match self.overflow.take() {
            Some(state) if !generation.is_idle(&state.0, &self.logs, now) => {
                self.overflow = Some(state);
                Found::Overflow
            }
            drained => {
                let heap = self.logs.units();
                if let Some(mut state) = drained {
                    clear_all(&generation.plan, &mut state.0, &mut self.logs);
                }
                generation.accounting.budget.adjust(heap, self.logs.units());
                Found::Blank
            }
        }
    }

    /// Converts a state that was written under another limit to the present one.
    fn renew(&mut self, generation: &Generation, found: Found, window: &Window, now: Nanos) {
        self.on_slot(&generation.plan, found, |slot| {
            window.meter.renew(window.state(slot), now);
        });
    }

    #[inline]
    fn decide(
        &self,
        generation: &Generation,
        found: Found,
        window: &Window,
        call: &Call,
        now: Nanos,
        cost: u64,
    ) -> Usage {
        let blank = generation.plan.blank();
        let state = match found {
            Found::Own(at) => self.segment.state(at, blank.len()),
            Found::Overflow => self.overflow.as_deref().map_or(blank, |state| &state.0),
            Found::Blank => blank,
        };
        let words = &state[window.range()];
        let meter = &window.meter;
        let usage = meter.decide(words, &self.logs, now, cost, call.scale);
        usage.enforced(window.limit.is_enforced())
    }

    /// Takes the cost from a window that has admitted the call. What a log adds on the heap counts towards the budget.
    fn take(
        &mut self,
        generation: &Generation,
        found: Found,
        window: &Window,
        call: &Call,
        now: Nanos,
    ) {
        let keeps_logs = generation.plan.keeps_logs();
        // A key with a slot stays exact: the budget decides only which keys get one.
        let may_grow = matches!(found, Found::Own(_));
        let heap = self.logs.units();
        self.on_slot(&generation.plan, found, |slot| {
            let state = window.state(slot);
            window
                .meter
                .take(state, now, call.cost, call.scale, may_grow);
        });
        if let (Found::Overflow, Some(state)) = (found, &mut self.overflow) {
            window.meter.share(&mut state.0[window.range()]);
        }
        if keeps_logs {
            generation.accounting.budget.adjust(heap, self.logs.units());
        }
    }

    fn on_slot(&mut self, plan: &Plan, found: Found, change: impl FnOnce(State<'_>)) {
        match (found, &mut self.overflow) {
            (Found::Own(at), _) => change(self.slot_at(plan, at)),
            (Found::Overflow, Some(state)) => {
                let logs = &mut self.logs;
                let words = &mut state.0;
                change(State { words, logs });
            }
            (Found::Overflow | Found::Blank, _) => (),
        }
    }

    #[inline]
    fn slot_at(&mut self, plan: &Plan, at: usize) -> State<'_> {
        State {
            words: self.segment.state_mut(at, plan.state_words()),
            logs: &mut self.logs,
        }
    }

    /// Returns the state for a new key that is about to take: a slot of its own, or the overflow state.
    fn find_room(
        &mut self,
        generation: &Generation,
        call: &Call,
        now: Nanos,
    ) -> Result<Found, CallError> {
        if !self.has_room(generation, now) {
            if !call.shares {
                return Err(CallError::NoRoom);
            }
            Totals::count(&generation.accounting.totals.overflowed, 1);
            let plan = &generation.plan;
            let blank = || Box::new(Overflow(plan.blank().into()));
            self.overflow.get_or_insert_with(blank);
            return Ok(Found::Overflow);
        }
        Ok(Found::Own(self.place(generation, call.key)))
    }

    /// Takes one unit of the budget, if need be after a sweep of this stripe.
    fn has_room(&mut self, generation: &Generation, now: Nanos) -> bool {
        generation.accounting.budget.try_take()
            || (self.sweep(generation, now) > 0 && generation.accounting.budget.try_take())
    }

    /// Inserts the slot of a new key, for which there must be room, and returns where its state begins.
    fn place(&mut self, generation: &Generation, key: Key) -> usize {
        let plan = &generation.plan;
        let stride = stride(plan);
        let at = self.segment.insert(key, stride);
        if let Some(debt) = &self.overflow {
            let heap = self.logs.units();
            let state = self.segment.state_mut(at, plan.state_words());
            state.copy_from_slice(&debt.0);
            for window in plan.windows() {
                let slot = self.slot_at(plan, at);
                window.meter.detach(window.state(slot));
            }
            generation.accounting.budget.adjust(heap, self.logs.units());
        }
        at
    }
}

/// Returns how many words a slot has.
#[inline]
fn stride(plan: &Plan) -> usize {
    KEY_WORDS + plan.state_words()
}

fn clear_all(plan: &Plan, state: &mut [u64], logs: &mut Logs) {
    for window in plan.windows() {
        window
            .meter
            .clear(window.state(State { words: state, logs }));
    }
}
