//! Export and import of the states of keys.

use crate::call::{Select, Tag};
use crate::clock::Nanos;
use crate::key::Key;
use crate::snapshot::{Import, Join, Known};

use super::{stride, Found, Generation, States};

impl States {
    /// Returns all keys that have a state of their own.
    pub(crate) fn all_keys(&self, generation: &Generation) -> Vec<Key> {
        self.segment.keys_of(stride(&generation.plan))
    }

    /// Returns what the key has used of the selected windows; `None` if it has no state of its own. The overflow state
    /// belongs to no single key.
    pub(crate) fn export(
        &mut self,
        generation: &Generation,
        select: Select,
        key: Key,
        now: Nanos,
    ) -> Option<Known> {
        let at = self.segment.find(key, stride(&generation.plan))?;
        let offset = generation.offset_to_unix;
        let mut windows = Vec::new();
        for window in generation.plan.selected(select) {
            self.renew(generation, Found::Own(at), window, now);
            let state = window.state(self.slot_at(&generation.plan, at));
            if let Some(snapshot) = window.meter.export(state, now, offset) {
                windows.push((window.tag, snapshot));
            }
        }
        Some(Known {
            at: now.saturating_add(offset),
            windows,
        })
    }

    /// Imports what another store knows of the key. Returns whether there was room for it.
    pub(crate) fn import(
        &mut self,
        generation: &Generation,
        key: Key,
        known: &Known,
        how: Import,
        now: Nanos,
    ) -> bool {
        let plan = &generation.plan;
        let mut known = known
            .clone()
            .moved(now.saturating_add(generation.offset_to_unix));
        let found = self.segment.find(key, stride(plan));
        let at = match found {
            Some(at) => at,
            None if known.is_blank() => return true,
            None if !self.has_room(generation, now) => return false,
            None => self.place(generation, key),
        };
        // A new slot begins with the overflow state, if there is one.
        if how == Import::AtLeast && (found.is_some() || self.overflow.is_some()) {
            let tags: Vec<Tag> = known.windows.iter().map(|(tag, _)| *tag).collect();
            let own = self.export(generation, Select::Tags(&tags), key, now);
            known = known.with(own.as_ref(), Join::Most);
        }
        if how == Import::Replace && self.copies.is_some() {
            let tags: Vec<Tag> = known.windows.iter().map(|(tag, _)| *tag).collect();
            self.reset_copies(Select::Tags(&tags), key, now);
        }
        let heap = self.logs.units();
        for window in plan.windows() {
            let Some(snapshot) = known.window(window.tag) else {
                continue;
            };
            if how == Import::Replace {
                window.meter.clear(window.state(self.slot_at(plan, at)));
            }
            if !snapshot.is_blank() {
                let state = window.state(self.slot_at(plan, at));
                let offset = generation.offset_to_unix;
                window.meter.import(state, now, offset, snapshot);
            }
        }
        generation.accounting.budget.adjust(heap, self.logs.units());
        self.remove_if_blank(generation, at);
        true
    }
}
