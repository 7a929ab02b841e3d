//! The cap on the memory of a limiter.

use crate::sync::{AtomicU64, Ordering};

/// Units that all stripes of a limiter may use together: one for each key, one for each 64 bytes of a log.
#[derive(Debug)]
pub(crate) struct Budget {
    cap: u64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) fn new(cap: u64) -> Self {
        Self {
            cap,
            used: AtomicU64::new(0),
        }
    }

    /// Takes one unit, unless all are used.
    pub(crate) fn try_take(&self) -> bool {
        // Added first, then taken back, so that two callers cannot both see the last unit free.
        let taken = self.used.fetch_add(1, Ordering::Relaxed) < self.cap;
        if !taken {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// Records that the memory in use has changed from `before` to `after` units.
    pub(crate) fn adjust(&self, before: u64, after: u64) {
        if after > before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else if before > after {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.cap
    }
}

#[cfg(all(loom, test))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_no_more_is_taken_than_there_is_and_all_comes_back() {
        loom::model(|| {
            let budget = Arc::new(Budget::new(2));
            let others = [(), ()].map(|()| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || u64::from(budget.try_take()))
            });
            // A unit is returned meanwhile, perhaps while another thread takes one.
            let mut held = u64::from(budget.try_take());
            if held == 1 {
                budget.adjust(1, 0);
                held = u64::from(budget.try_take());
            }
            let taken = others.map(|other| other.join().unwrap());
            let taken = taken[0] + taken[1] + held;
            assert!((1..=2).contains(&taken));
            assert_eq!(budget.used.load(Ordering::Relaxed), taken);
            assert_eq!(budget.is_spent(), taken == 2);
        });
    }
}
