//! One at a time, for steps that are more than one: without ever parking a thread, since it may be a scheduler's.

use std::sync::atomic::{AtomicBool, Ordering};

use rate_limiter_core::Key;

/// So many keys can have their turn at once.
const LANES: usize = 64;

/// Rounds of waiting before the own core is offered to whoever wants it.
const SPINS: u32 = 64;

#[derive(Debug)]
pub(crate) struct KeyLock([AtomicBool; LANES]);

/// A key's turn, until it is dropped.
pub(crate) struct Turn<'a>(&'a AtomicBool);

impl Default for KeyLock {
    fn default() -> Self {
        Self([const { AtomicBool::new(false) }; LANES])
    }
}

impl KeyLock {
    /// Waits until nobody else has the turn of this key, some microseconds at most.
    pub(crate) fn lock(&self, key: Key) -> Turn<'_> {
        let lane = &self.0[key.spread() % LANES];
        let mut round = 0;
        while lane
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
        Turn(lane)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
