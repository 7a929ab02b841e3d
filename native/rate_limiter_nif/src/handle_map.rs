//! Values by a number that is used once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::spin::spin;

/// Values by number.
pub(crate) struct HandleMap<T> {
    values: RwLock<BTreeMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> HandleMap<T> {
    /// An empty map. The numbers start at `first`.
    pub(crate) const fn new(first: u64) -> Self {
        Self {
            values: RwLock::new(BTreeMap::new()),
            next: AtomicU64::new(first),
        }
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<T>> {
        spin(|| self.values.try_read()).get(&number).cloned()
    }

    pub(crate) fn insert(&self, value: Arc<T>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        spin(|| self.values.try_write()).insert(number, value);
        number
    }

    /// Removes a value. Callers that have it keep it.
    pub(crate) fn remove(&self, number: u64) -> Option<Arc<T>> {
        spin(|| self.values.try_write()).remove(&number)
    }
}
