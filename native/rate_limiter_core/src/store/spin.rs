//! A lock that never parks its thread.
//!
//! An Erlang scheduler runs thousands of processes, and stalls all of them if it sleeps on a futex. The lock is held
//! for some 20 ns, so a waiter spins with a growing pause (which also lets the holder's core keep the cache line for
//! its next calls). After about 2 microseconds the holder has probably lost its core: then the waiter offers its own by
//! `sched_yield`, which returns at once if no other thread is ready.

use crate::sync::{spin_loop, yield_now, AtomicBool, Ordering, UnsafeCell};

/// Rounds of doubling back-off before a waiter starts to yield: about 2 microseconds in all.
const SPIN_ROUNDS: u32 = 7;

/// The lock lies on the cache line on which the value begins.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SpinLock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through `Entered`, between the acquisition and the release of `held`, so by one
// thread at a time. To use a `T` on that thread needs `T: Send`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value, alone. `f` must be short, and must not take the same lock.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.enter().with(f)
    }

    /// Takes the lock, and holds it until the result is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Entered<'_, T> {
        if !self.seize() {
            self.wait();
        }
        Entered(self)
    }

    /// Takes the lock if it is free.
    #[inline]
    fn seize(&self) -> bool {
        // Acquire pairs with the Release of the drop: all that the last holder wrote is visible.
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

/// The held lock. It is released when dropped, so also if a closure panics.
pub(crate) struct Entered<'a, T>(&'a SpinLock<T>);

impl<T> Entered<'_, T> {
    /// Runs `f` on the value.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn with<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: `enter` found `held` false and set it in one step, and only our drop resets it. `&mut self` allows
        // one closure at a time. So this is the only reference. The Acquire of the exchange pairs with the Release of
        // the drop: all that was written before is visible.
        self.0.value.with_mut(|value| f(unsafe { &mut *value }))
    }
}

impl<T> Drop for Entered<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release pairs with the Acquire of `seize`.
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
                // The cell of loom fails the model if both threads are in it.
                thread::spawn(move || lock.with(|count| *count += 1))
            };
            lock.with(|count| *count += 1);
            other.join().unwrap();
            assert_eq!(lock.with(|count| *count), 2);
        });
    }

    #[test]
    fn loom_a_panic_releases_the_lock() {
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
