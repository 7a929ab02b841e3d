//! What windows counted under periods that they had before, and may return to.
//!
//! A state has what its own period needs and no more: under a shorter one it drops what a longer one would still count.
//! So a change of the period leaves a copy of all states, for as long as a use in it can count. A window that returns to
//! the period counts at least what the copy does. Until then only calls that give back or reset touch a copy.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Select, Tag};
use crate::clock::Nanos;
use crate::key::Key;
use crate::limit::Algorithm;
use crate::plan::Window;
use crate::snapshot::Import;

use super::{stride, Generation, States};

/// The most copies. Each takes as much memory as the states.
const MOST: usize = 3;

/// The copies, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Copies(Vec<Former>);

/// The states when a window had another period.
#[derive(Debug)]
struct Former {
    tag: Tag,
    per: Duration,
    until: Nanos,
    generation: Arc<Generation>,
    states: States,
}

impl States {
    /// Continues with other limits. `old` is a generation of the present ones, with accounts of its own.
    pub(crate) fn change(&mut self, old: &Arc<Generation>, new: &Generation, now: Nanos) {
        self.forget_copies(now);
        let windows = old.plan.windows().iter().zip(new.plan.windows());
        for (before, after) in windows {
            let is_bucket = matches!(before.limit.algorithm(), Algorithm::TokenBucket { .. });
            if before.limit.per() != after.limit.per() && !is_bucket {
                self.leave(before, old, now);
                self.return_to(after, new, now);
            }
        }
        self.renew_calls();
    }

    fn leave(&mut self, window: &Window, old: &Arc<Generation>, now: Nanos) {
        if self.segment.keys() == 0 {
            return;
        }
        let states = Self {
            segment: self.segment.clone(),
            logs: self.logs.clone(),
            ..Self::after(self.serial)
        };
        let units = states.segment.keys() as u64 + states.logs.units();
        old.accounting.budget.adjust(0, units);
        let Copies(copies) = &mut **self.copies.get_or_insert_default();
        if copies.len() == MOST {
            let ends = copies.iter().enumerate();
            let first = ends.min_by_key(|(_, former)| former.until);
            copies.remove(first.map_or(0, |(place, _)| place));
        }
        copies.push(Former {
            tag: window.tag,
            per: window.limit.per(),
            until: now.saturating_add(window.limit.longest_use()),
            generation: Arc::clone(old),
            states,
        });
    }

    fn return_to(&mut self, window: &Window, new: &Generation, now: Nanos) {
        let is_its = |former: &Former| (former.tag, former.per) == (window.tag, window.limit.per());
        let Some(Copies(copies)) = self.copies.as_deref_mut() else {
            return;
        };
        let Some(place) = copies.iter().position(is_its) else {
            return;
        };
        let Former {
            generation: old,
            mut states,
            ..
        } = copies.remove(place);
        for key in states.segment.keys_of(stride(&old.plan)) {
            let known = states.export(&old, Select::Tags(&[window.tag]), key, now);
            let Some(known) = known.filter(|known| !known.is_blank()) else {
                continue;
            };
            if self.segment.find(key, stride(&new.plan)).is_none() {
                // It had a place, and must not be forgotten: also beyond the budget.
                new.accounting.budget.adjust(0, 1);
                self.place(new, key);
            }
            self.import(new, key, &known, Import::AtLeast, now);
        }
    }

    /// Forgets copies of which nothing counts any more.
    pub(super) fn forget_copies(&mut self, now: Nanos) {
        if let Some(Copies(copies)) = self.copies.as_deref_mut() {
            copies.retain(|former| former.until > now);
            if copies.is_empty() {
                self.copies = None;
            }
        }
    }

    /// Changes the copies as the states are changed.
    pub(super) fn each_copy(&mut self, mut change: impl FnMut(&mut Self, &Generation)) {
        if let Some(Copies(copies)) = self.copies.as_deref_mut() {
            for former in copies {
                change(&mut former.states, &former.generation);
            }
        }
    }

    /// As `reset`, in the copies only.
    pub(super) fn reset_copies(&mut self, select: Select, key: Key, now: Nanos) {
        self.each_copy(|states, generation| {
            // Cannot fail: a copy has no key that is judged together with others.
            let _ = states.reset(generation, select, key, now);
        });
    }

    /// Moves the keys of the copies that leave this stripe.
    pub(super) fn split_copies(&mut self, other: &mut Self, leaves: &dyn Fn(u64) -> bool) {
        let Some(Copies(copies)) = self.copies.as_deref_mut() else {
            return;
        };
        let leaving = copies.iter_mut().map(|former| {
            let mut states = Self::default();
            former.states.split(&former.generation, &mut states, leaves);
            Former {
                generation: Arc::clone(&former.generation),
                states,
                ..*former
            }
        });
        other.copies = Some(Box::new(Copies(leaving.collect())));
    }

    /// As `follow`, in the copies only.
    pub(super) fn follow_copies(&mut self, new: &Generation, old: Nanos, now: Nanos) {
        if let Some(Copies(copies)) = self.copies.as_deref_mut() {
            for former in copies {
                let generation = former.generation.at_offset(new.offset_to_unix);
                former.states.follow(&generation, old, now);
                former.generation = Arc::new(generation);
            }
        }
    }

    pub(super) fn copies_bytes(&self) -> u64 {
        let copies = self.copies.iter().flat_map(|copies| &copies.0);
        copies.map(|former| former.states.stats().bytes).sum()
    }
}
