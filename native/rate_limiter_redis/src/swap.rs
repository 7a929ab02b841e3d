//! A value that is read by everybody and seldom replaced.

use std::sync::Arc;

use parking_lot::RwLock;

/// Readers never park: whoever replaces the value holds them up for as long as that takes, some nanoseconds.
#[derive(Debug)]
pub(crate) struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub(crate) fn get(&self) -> Arc<T> {
        loop {
            if let Some(value) = self.0.try_read() {
                return Arc::clone(&value);
            }
            std::hint::spin_loop();
        }
    }

    pub(crate) fn set(&self, value: T) {
        let mut value = Arc::new(value);
        loop {
            if let Some(mut here) = self.0.try_write() {
                std::mem::swap(&mut *here, &mut value);
                break;
            }
            std::thread::yield_now();
        }
        // What it was is freed outside of the lock.
        drop(value);
    }
}
