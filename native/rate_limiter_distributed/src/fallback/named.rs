//! Calls with names that this node has admitted: each is reported as itself, so that the authority charges it once,
//! whether it has run there before its reply was lost, is repeated there later, or was admitted by another node as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rate_limiter_core::{Join, Key, Known, Nanos, Tag};

use crate::call::{NamedCharge, RequestId};

/// A call with a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(super) request_id: RequestId,
    pub(super) cost: u64,
    /// When it was admitted.
    pub(super) at: Nanos,
    pub(super) tags: Vec<Tag>,
    /// What it has taken, in units of the whole limits: while it is kept, of the limiter's own.
    pub(super) taken: Known,
}

/// What travels with a call to the authority, in units of the whole limits.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// All of it.
    pub(crate) backlog: Known,
    /// Without the calls with names.
    pub(crate) unnamed: Known,
    pub(crate) named: Vec<Named>,
    /// All of it was admitted by then.
    pub(crate) until: Nanos,
}

/// The calls that are still to be reported, by key. Most outages have none.
#[derive(Debug)]
pub(super) struct Names {
    calls: Mutex<HashMap<Key, Vec<Named>>>,
    len: AtomicUsize,
    max: u64,
}

impl Named {
    /// Returns the call with what it has taken in other units.
    pub(super) fn map(self, convert: impl FnOnce(Known) -> Known) -> Self {
        Self {
            taken: convert(self.taken),
            ..self
        }
    }

    /// Returns the call as a part of one about windows with these tags.
    pub(crate) fn charge(&self, tags: &[Tag]) -> NamedCharge {
        let taken = |tag: &Tag| {
            self.tags
                .contains(tag)
                .then(|| self.taken.window(*tag).cloned())
        };
        NamedCharge {
            request_id: self.request_id.clone(),
            cost: self.cost,
            at: self.at,
            is_own: tags.iter().map(|tag| self.tags.contains(tag)).collect(),
            taken: tags.iter().map(|tag| taken(tag).flatten()).collect(),
        }
    }
}

impl Names {
    /// Remembers at most `max` calls. One beyond is charged as if it had no name.
    pub(super) fn new(max: u64) -> Self {
        Self {
            calls: Mutex::default(),
            len: AtomicUsize::new(0),
            max,
        }
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.any() && self.calls.lock().contains_key(&key)
    }

    pub(super) fn put(&self, key: Key, named: impl Iterator<Item = Named>) {
        for named in named {
            if (self.len.fetch_add(1, Ordering::Relaxed) as u64) < self.max {
                self.calls.lock().entry(key).or_default().push(named);
            } else {
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Removes and returns the calls of a key.
    pub(super) fn take(&self, key: Key) -> Vec<Named> {
        if !self.any() {
            return Vec::new();
        }
        let taken = self.calls.lock().remove(&key).unwrap_or_default();
        self.len.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// Returns what the calls of a key have taken together.
    pub(super) fn taken(&self, key: Key) -> Option<Known> {
        if !self.any() {
            return None;
        }
        let calls = self.calls.lock();
        let taken = calls.get(&key)?.iter().map(|named| named.taken.clone());
        taken.reduce(|sum, taken| taken.with(Some(&sum), Join::Sum))
    }

    fn any(&self) -> bool {
        self.len.load(Ordering::Relaxed) > 0
    }
}
