//! A lock per key for steps that change more than one place. It never parks a thread, which may be an Erlang scheduler.

use std::sync::atomic::{AtomicBool, Ordering};

use rate_limiter_core::Key;

/// The number of keys that can be locked at once. Keys share locks by their hashes.
const LOCKS: usize = 64;

/// Rounds of spinning before the thread yields its core.
const SPINS: u32 = 64;

#[derive(Debug)]
pub(crate) struct KeyLock([AtomicBool; LOCKS]);

/// Unlocks the key when dropped.
pub(crate) struct Guard<'a>(&'a AtomicBool);

impl Default for KeyLock {
    fn default() -> Self {
        Self([const { AtomicBool::new(false) }; LOCKS])
    }
}

impl KeyLock {
    /// Waits until the key is unlocked, some microseconds at most.
    pub(crate) fn lock(&self, key: Key) -> Guard<'_> {
        let lock = &self.0[key.spread() % LOCKS];
        let mut round = 0;
        // Acquire: with the release in `drop`, the holder sees what the one before it wrote.
        while lock
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            if round < SPINS {
                std::hint::spin_loop();
                round += 1;
            } else {
                std::thread::yield_now();
            }
        }
        Guard(lock)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Release: see `lock`.
        self.0.store(false, Ordering::Release);
    }
}
