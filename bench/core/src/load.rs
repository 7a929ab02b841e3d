//! The load of a subject: ids, their order, and threads.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::subject::Subject;

/// So many checks for these ids by each of these threads at once.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The ids, in turn and repeated.
    pub ids: &'a [String],
    /// The number of threads.
    pub threads: u32,
    /// The number of checks of each thread.
    pub checks: u32,
}

/// Ids as a service would have them, short strings, in random order.
///
/// They lie in memory in the order of the checks, so that the processor has the next ones in its cache,
/// as it has the id of a request that was just read. Their states lie in another order.
#[must_use]
pub fn ids(count: u32) -> Vec<String> {
    let mut numbers: Vec<u32> = (0..count).collect();
    shuffle(&mut numbers, 88_172_645_463_325_253);
    let id = |number| format!("user:{}", number + 10_000_000);
    numbers.into_iter().map(id).collect()
}

/// Shuffles into an order that is the same for the same seed, which must be odd.
fn shuffle<T>(all: &mut [T], seed: u64) {
    let mut state = seed;
    for left in (2..=all.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The upper half as a fraction of what is left: no bias that matters.
        let chosen = ((state >> 32) * left as u64) >> 32;
        #[allow(clippy::cast_possible_truncation)] // chosen < left
        all.swap(left - 1, chosen as usize);
    }
}

impl Load<'_> {
    /// Returns the time from the common start to the end of a thread, as the mean of the threads.
    pub(crate) fn run(&self, subject: &impl Subject) -> Duration {
        if self.threads == 1 {
            return self.one(subject, 0);
        }
        let missing = AtomicU32::new(self.threads);
        let total: Duration = std::thread::scope(|scope| {
            let start = |thread: u32| {
                let missing = &missing;
                scope.spawn(move || {
                    wait_for_all(missing);
                    self.one(
                        subject,
                        thread as usize * self.ids.len() / self.threads as usize,
                    )
                })
            };
            let threads: Vec<_> = (0..self.threads).map(start).collect();
            let times = threads.into_iter().map(ScopedJoinHandle::join);
            times.map(|time| time.expect("no check panics")).sum()
        });
        total / self.threads
    }

    /// Checks each id once, so that all are known.
    ///
    /// In another order than that of the run: a subject that stores copies of the ids in this order would find them
    /// in the cache as well.
    pub(crate) fn fill(&self, subject: &impl Subject) {
        let mut ids: Vec<&String> = self.ids.iter().collect();
        shuffle(&mut ids, 2_463_534_242_000_001);
        for id in ids {
            black_box(subject.check(id));
        }
    }

    fn one(&self, subject: &impl Subject, first: usize) -> Duration {
        let mut at = first;
        let start = Instant::now();
        for _ in 0..self.checks {
            black_box(subject.check(black_box(&self.ids[at])));
            at += 1;
            if at == self.ids.len() {
                at = 0;
            }
        }
        start.elapsed()
    }
}

/// A barrier that spins: a thread that slept would wake up after the end of a short run.
fn wait_for_all(missing: &AtomicU32) {
    missing.fetch_sub(1, Ordering::AcqRel);
    while missing.load(Ordering::Acquire) > 0 {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    struct Record(Mutex<Vec<String>>);

    impl Subject for Record {
        fn check(&self, id: &String) -> bool {
            self.0.lock().unwrap().push(id.clone());
            true
        }
    }

    fn asked(load: &Load) -> Vec<String> {
        let record = Record(Mutex::default());
        load.run(&record);
        record.0.into_inner().unwrap()
    }

    #[test]
    fn ids_are_all_there_and_in_an_order_that_is_always_the_same() {
        let ids = ids(1_000);
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1_000);
        assert_eq!(ids, super::ids(1_000));
        let in_order = ids.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((400..600).contains(&in_order), "{in_order} of 999 ascend");
    }

    #[test]
    fn every_thread_asks_about_every_id_in_turn_beginning_elsewhere() {
        let load = Load {
            ids: &ids(10),
            threads: 2,
            checks: 10,
        };
        let mut asked = asked(&load);
        assert_eq!(asked.len(), 20);
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), 10);
    }
}
