//! What is found by a number that is never given twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::spin::spin;

/// Things by number.
pub(crate) struct Shelf<T> {
    things: RwLock<BTreeMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Shelf<T> {
    /// Numbers begin at `first`.
    pub(crate) const fn new(first: u64) -> Self {
        Self {
            things: RwLock::new(BTreeMap::new()),
            next: AtomicU64::new(first),
        }
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<T>> {
        let things = spin(|| self.things.try_read());
        things.get(&number).cloned()
    }

    pub(crate) fn put(&self, thing: Arc<T>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        spin(|| self.things.try_write()).insert(number, thing);
        number
    }

    /// Takes it away: whoever has it goes on with it.
    pub(crate) fn take(&self, number: u64) -> Option<Arc<T>> {
        spin(|| self.things.try_write()).remove(&number)
    }
}
