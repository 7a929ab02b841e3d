//! What a limiter remembers of single calls, each note until its time is over: which calls were admitted under an id,
//! what was given back of a call, and up to which call all of a key's are over.
//!
//! A table of keys as any other, on the same budget. The state of a note is two words: until when it holds, as a bucket
//! that has drained by then, so that it is swept as one; and its value.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Nanos;
use crate::error::CallError;
use crate::key::Key;
use crate::limit::Limit;
use crate::plan::Plan;
use crate::sync::{AtomicU64, Ordering};

use super::generation::Generation;
use super::stripe::Stripe;
use super::table::Table;

/// Stripes at the start: most limiters never get a note.
const STRIPES: usize = 8;

#[derive(Debug)]
pub(crate) struct Notes {
    table: Table,
    /// The longest time for which the id of a call was to be remembered.
    longest: AtomicU64,
}

/// The notes as one call reads and writes them.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    notes: &'a Notes,
    epoch: u32,
    monotonic: Nanos,
    /// Whether the table should split.
    pub(crate) crowded: bool,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            table: Table::new(STRIPES),
            longest: AtomicU64::new(0),
        }
    }
}

impl Notes {
    /// Forgets all notes. New ones count towards the budget of `keys`.
    pub(crate) fn open(&self, keys: &Generation) {
        // Neither the rate nor the burst matters: only the shape of a state does.
        let limit = Limit::token_bucket(1, Duration::from_secs(1));
        let plan = Plan::new(&[(0, limit)], Nanos(0)).expect("a limit that can be kept");
        let generation = Arc::new(Generation {
            plan,
            plans: None,
            clock: keys.clock.clone(),
            accounting: Arc::clone(&keys.accounting),
            ..*keys
        });
        self.longest.store(0, Ordering::Relaxed);
        self.table.refill(|level| Stripe::new(&generation, level));
    }

    /// Frees all memory.
    pub(crate) fn close(&self) {
        self.table.refill(|_| Stripe::default());
    }

    #[inline]
    pub(crate) fn access(&self, epoch: u32, monotonic: Nanos) -> Access<'_> {
        Access {
            notes: self,
            epoch,
            monotonic,
            crowded: false,
        }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }
}

impl Access<'_> {
    /// Returns the value of a note that holds now.
    pub(crate) fn get(&mut self, name: Key) -> Result<Option<u64>, CallError> {
        let (epoch, monotonic) = (self.epoch, self.monotonic);
        self.with(name, |stripe| stripe.note(epoch, name, monotonic))
    }

    /// Writes a note that holds for `keep` from now on. Returns whether there was room for it.
    pub(crate) fn put(&mut self, name: Key, value: u64, keep: Nanos) -> Result<bool, CallError> {
        let (epoch, monotonic) = (self.epoch, self.monotonic);
        self.with(name, |stripe| {
            stripe.put_note(epoch, name, value, keep, monotonic)
        })
    }

    /// Writes a note of no value, which is none of a call, unless there is one. Returns whether it did.
    pub(crate) fn mark(&mut self, name: Key, keep: Nanos) -> Result<bool, CallError> {
        let (epoch, monotonic) = (self.epoch, self.monotonic);
        self.with(name, |stripe| {
            Ok(stripe.note(epoch, name, monotonic)?.is_none()
                && stripe.put_note(epoch, name, 0, keep, monotonic)?)
        })
    }

    /// Records for how long the id of a call will be remembered.
    pub(crate) fn expect(&self, keep: Nanos) {
        self.notes.longest.fetch_max(keep.0, Ordering::Relaxed);
    }

    /// Returns the longest time for which the id of a call was to be remembered; zero if there was none.
    pub(crate) fn longest(&self) -> Nanos {
        Nanos(self.notes.longest.load(Ordering::Relaxed))
    }

    fn with<R>(&mut self, name: Key, visit: impl FnOnce(&mut Stripe) -> R) -> R {
        let mut crowded = false;
        let result = self.notes.table.with(name, &mut crowded, visit);
        self.crowded |= crowded;
        result
    }
}
