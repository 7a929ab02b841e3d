//! A lock that never parks its thread.
//!
//! An Erlang scheduler runs thousands of processes; a scheduler that sleeps on a futex stalls all of them. What this
//! lock guards takes some 20 ns, so a waiter spins, backing off (which also lets the holder's core keep the cache
//! line for its next calls), and only when the holder seems to have lost its core does it offer its own by
//! `sched_yield`, which returns at once if nobody wants it.

use crate::sync::{spin_loop, yield_now, AtomicBool, Ordering, UnsafeCell};

/// Rounds of doubling back-off before a waiter starts to yield: about 2 microseconds in all.
const SPIN_ROUNDS: u32 = 7;

/// The lock lies before the value, so on the cache line on which that begins.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SpinLock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through `Entered`, between winning `held` and releasing it, hence by one thread at a
// time; moving a `T` to whichever thread that is needs `T: Send`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value, alone. `f` must be short and must not come back to the same lock.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.enter().with(f)
    }

    /// Waits until nobody else is in, and keeps others out until the result is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Entered<'_, T> {
        if !self.seize() {
            self.wait();
        }
        Entered(self)
    }

    /// Takes the lock, if nobody has it.
    #[inline]
    fn seize(&self) -> bool {
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        let seized = self.held.compare_exchange(false, true, acquire, relaxed);
        seized.is_ok()
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) {
        let mut round = 0;
        loop {
            if round < SPIN_ROUNDS && cfg!(not(loom)) {
                for _ in 0..1_u32 << round {
                    spin_loop();
                }
                round += 1;
            } else {
                yield_now();
            }
            if !self.held.load(Ordering::Relaxed) && self.seize() {
                return;
            }
        }
    }
}

/// Being alone with the value. Left when dropped, so also when a closure panics.
pub(crate) struct Entered<'a, T>(&'a SpinLock<T>);

impl<T> Entered<'_, T> {
    /// Runs `f` on the value.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn with<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: `enter` found `held` false and made it true in one step; only our drop sets it back, and `&mut self`
        // sees to it that this is the only closure at work. So this is the only reference. The exchange's Acquire pairs
        // with the drop's Release: we see all that was written before.
        self.0.value.with_mut(|value| f(unsafe { &mut *value }))
    }
}

impl<T> Drop for Entered<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

#[cfg(all(loom, test))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_one_at_a_time() {
        loom::model(|| {
            let lock = Arc::new(SpinLock::new(0));
            let other = {
                let lock = Arc::clone(&lock);
                // Loom's cell fails the model if both are ever in it.
                thread::spawn(move || lock.with(|count| *count += 1))
            };
            lock.with(|count| *count += 1);
            other.join().unwrap();
            assert_eq!(lock.with(|count| *count), 2);
        });
    }

    #[test]
    fn loom_who_unwinds_leaves_the_lock_open() {
        loom::model(|| {
            let lock = Arc::new(SpinLock::new(0));
            let other = {
                let lock = Arc::clone(&lock);
                thread::spawn(move || {
                    let unwinding = std::panic::AssertUnwindSafe(|| {
                        lock.with(|count| {
                            *count += 1;
                            std::panic::resume_unwind(Box::new("on purpose"))
                        })
                    });
                    assert!(std::panic::catch_unwind(unwinding).is_err());
                })
            };
            lock.with(|count| *count += 1);
            other.join().unwrap();
            assert_eq!(lock.with(|count| *count), 2);
        });
    }
}
