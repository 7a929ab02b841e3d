//! Threads that use a limiter while others sweep, count, change and reopen it.
//!
//! These tests count admissions, and they are what runs under ThreadSanitizer, which sees a missing happens-before even
//! where the memory order of this processor would hide it. It does not see what the precompiled standard library does
//! internally, so it would report `thread::scope`, `Barrier` or a contended `std::sync::Mutex` as races: hence threads
//! are only spawned and joined.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rate_limiter_core::{Epoch, Key, Limit, Limiter, Options, Scale, Seed, Select, Tag};

const DAY: Duration = Duration::from_hours(24);
const THREADS: usize = 8;
const CALLS: usize = 5_000;
const KEYS: usize = 50;
const LIMIT: u64 = 100;

const BUCKET: Tag = 1;
const LOG: Tag = 2;
const SLIDING: Tag = 3;
const FIXED: Tag = 4;

fn windows() -> [(Tag, Limit); 4] {
    [
        (BUCKET, Limit::token_bucket(LIMIT, DAY)),
        (LOG, Limit::sliding_log(LIMIT + 1, DAY)),
        (SLIDING, Limit::sliding_window(LIMIT + 2, DAY)),
        (FIXED, Limit::fixed_window(LIMIT + 3, DAY)),
    ]
}

fn keys() -> Vec<Key> {
    let seed = Seed::random();
    (0..KEYS).map(|id| seed.key(&id.to_le_bytes())).collect()
}

/// Takes a step again and again, in a thread of its own, until it is stopped.
struct Repeated {
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Repeated {
    fn new(step: impl Fn() + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                step();
            }
        });
        Self { done, thread }
    }

    fn stop(self) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
    }
}

#[test]
fn every_key_is_admitted_exactly_its_limit_while_others_sweep_and_look() {
    let (limiter, epoch) = Limiter::new(&windows(), Options::default()).expect("valid limits");
    let limiter = Arc::new(limiter);
    let keys = Arc::new(keys());

    let looker = {
        let (limiter, key) = (Arc::clone(&limiter), keys[0]);
        Repeated::new(move || {
            limiter.sweep(epoch, 100).expect("open");
            limiter.stats(epoch).expect("open");
            limiter.limits(epoch).expect("open");
            limiter.peek_all(epoch, key, Select::All, 1).expect("open");
        })
    };
    let callers = (0..THREADS).map(|thread| {
        let (limiter, keys) = (Arc::clone(&limiter), Arc::clone(&keys));
        thread::spawn(move || {
            let calls = (0..CALLS).map(|call| keys[(call + thread * 7) % KEYS]);
            let answers = calls.map(|key| limiter.check_all(epoch, key, Select::All, 1));
            answers
                .filter(|answer| answer.as_ref().expect("open").allowed())
                .count()
        })
    });
    let callers: Vec<_> = callers.collect();
    let admitted = callers.into_iter().map(JoinHandle::join);
    let admitted: usize = admitted.map(|count| count.expect("no panic")).sum();
    looker.stop();

    assert_eq!(admitted as u64, KEYS as u64 * LIMIT);
    assert_eq!(limiter.stats(epoch).expect("open").keys, KEYS as u64);
}

#[test]
fn no_opening_admits_more_than_its_limit_while_limits_and_openings_change() {
    const OPENINGS: usize = 200;
    let limiter = Arc::new(Limiter::closed());
    let present = Arc::new(AtomicU32::new(0));
    let admitted: Arc<[AtomicU64]> = (0..=OPENINGS).map(|_| AtomicU64::new(0)).collect();
    let key = keys()[0];
    // The first call creates what all threads use; ThreadSanitizer cannot see that it is created once.
    let early = limiter.check(Epoch::from_number(0), key, BUCKET, 1);
    assert!(early.is_err());

    let callers = (0..2).map(|_| {
        let (limiter, present) = (Arc::clone(&limiter), Arc::clone(&present));
        let admitted = Arc::clone(&admitted);
        Repeated::new(move || {
            let epoch = Epoch::from_number(present.load(Ordering::Relaxed));
            // A stale epoch is an error, and takes nothing from the next opening.
            if let Ok(usage) = limiter.check(epoch, key, BUCKET, 1) {
                let count = &admitted[epoch.number() as usize];
                count.fetch_add(u64::from(usage.allowed()), Ordering::Relaxed);
            }
        })
    });
    let callers: Vec<_> = callers.collect();

    for _ in 0..OPENINGS {
        let opened = limiter.open(&windows(), Options::default());
        let epoch = opened.expect("valid limits");
        present.store(epoch.number(), Ordering::Relaxed);
        while admitted[epoch.number() as usize].load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let half = Limit::token_bucket(LIMIT / 2, DAY);
        let scale = Scale::from_ppm(500_000);
        limiter.set_scale(epoch, scale).expect("open");
        limiter
            .update_limits(epoch, &[(BUCKET, half.clone())])
            .expect("open");
        limiter.close(epoch).expect("open until now");
    }

    callers.into_iter().for_each(Repeated::stop);
    for (epoch, count) in admitted.iter().enumerate().skip(1) {
        let count = count.load(Ordering::Relaxed);
        assert!(
            (1..=LIMIT).contains(&count),
            "opening {epoch} admitted {count} of {LIMIT}"
        );
    }
}
