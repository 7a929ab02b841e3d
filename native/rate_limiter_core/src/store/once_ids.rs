//! Ids of calls that were admitted, each until its time is over.
//!
//! A table of keys as any other, on the same budget: an id is a bucket that has drained when it may be forgotten.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Select, Tag};
use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::limit::Limit;
use crate::plan::Plan;
use crate::snapshot::{Import, Known, Snapshot};

use super::generation::Generation;
use super::stripe::Stripe;
use super::table::Table;

/// Stripes at the start: most limiters never get an id.
const STRIPES: usize = 8;

const ONLY: Tag = 0;

#[derive(Debug)]
pub(crate) struct OnceIds(Table);

impl Default for OnceIds {
    fn default() -> Self {
        Self(Table::new(STRIPES))
    }
}

impl OnceIds {
    /// Forgets all ids. New ones count towards the budget of `keys`.
    pub(crate) fn open(&self, keys: &Generation) {
        // The rate does not matter: the debt is always set as a time.
        let limit = Limit::token_bucket(1, Duration::from_secs(1));
        let plan = Plan::new(&[(ONLY, limit)], Nanos(0)).expect("a limit that can be kept");
        let generation = Arc::new(Generation {
            epoch: keys.epoch,
            plan,
            clock: keys.clock.clone(),
            offset_to_unix: keys.offset_to_unix,
            accounting: Arc::clone(&keys.accounting),
        });
        self.0.refill(|level| Stripe::new(&generation, level));
    }

    /// Frees all memory.
    pub(crate) fn close(&self) {
        self.0.refill(|_| Stripe::default());
    }

    /// Returns whether an id is remembered.
    pub(crate) fn contains(
        &self,
        epoch: u32,
        id: Key,
        monotonic: Nanos,
        crowded: &mut bool,
    ) -> Result<bool, CallError> {
        let known = self.0.with(id, crowded, |stripe| {
            stripe.export(epoch, id, Select::All, monotonic)
        })?;
        Ok(known.is_some_and(|known| !known.is_blank()))
    }

    /// Remembers an id for `keep` from now on, if there is room.
    pub(crate) fn insert(
        &self,
        epoch: u32,
        id: Key,
        keep: Nanos,
        monotonic: Nanos,
        crowded: &mut bool,
    ) -> Result<bool, CallError> {
        self.0.with(id, crowded, |stripe| {
            let known = Known {
                at: stripe.unix(epoch, monotonic)?,
                windows: vec![(ONLY, Snapshot::Bucket { debt: keep })],
            };
            stripe.import(epoch, id, &known, Import::Replace, monotonic)
        })
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0
    }
}
