//! Many threads at once: the number of admitted calls is exact.
//!
//! The clock stands still, or real time is read before and after; no test sleeps. As in `races.rs`, threads are
//! only spawned and joined, so that ThreadSanitizer can follow.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rate_limiter_core::{
    monotonic, Clock, Epoch, Key, Limit, Limiter, ManualClock, Nanos, Options, Scale, Seed, Select,
    Tag,
};

const THREADS: u64 = 8;
const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);
const ONLY: Tag = 1;

/// A limiter that threads share, on a clock that stands still until it is moved.
struct Shared {
    limiter: Limiter,
    epoch: Epoch,
    clock: Arc<ManualClock>,
    seed: Seed,
}

impl Shared {
    fn new(limits: &[(Tag, Limit)], max_keys: u64) -> Arc<Self> {
        let clock = Arc::new(ManualClock::new(Nanos(1_750_000_000_000_000_000)));
        let options = Options {
            clock: Clock::Manual(Arc::clone(&clock)),
            max_keys,
        };
        let (limiter, epoch) = Limiter::new(limits, options).expect("valid limits");
        let seed = Seed::fixed(7);
        Arc::new(Self {
            limiter,
            epoch,
            clock,
            seed,
        })
    }

    fn of(limit: Limit) -> Arc<Self> {
        Self::new(&[(ONLY, limit)], u64::MAX)
    }

    fn takes(&self, id: u64, cost: u64) -> bool {
        let usage = self.limiter.check(self.epoch, self.key(id), ONLY, cost);
        usage.expect("open").allowed()
    }

    fn takes_all(&self, id: u64, cost: u64) -> bool {
        let answer = self
            .limiter
            .check_all(self.epoch, self.key(id), Select::All, cost);
        answer.expect("open").allowed()
    }

    fn left(&self, id: u64) -> u64 {
        let usage = self.limiter.peek(self.epoch, self.key(id), ONLY, 0);
        usage.expect("open").remaining
    }

    fn refund(&self, id: u64, cost: u64) {
        let back = self
            .limiter
            .refund(self.epoch, self.key(id), Select::All, cost);
        back.expect("open");
    }

    fn key(&self, id: u64) -> Key {
        self.seed.key(&id.to_le_bytes())
    }
}

/// Returns the sum of what the threads count. Each gets its number.
fn sum_of_threads<T: Send + Sync + 'static>(
    shared: &Arc<T>,
    count: impl Fn(&T, u64) -> u64 + Copy + Send + 'static,
) -> u64 {
    let spawned = (0..THREADS).map(|number| {
        let shared = Arc::clone(shared);
        thread::spawn(move || count(&shared, number))
    });
    let spawned: Vec<JoinHandle<u64>> = spawned.collect();
    let counts = spawned
        .into_iter()
        .map(|thread| thread.join().expect("no panic"));
    counts.sum()
}

fn each(limit: u64, per: Duration) -> [Limit; 5] {
    [
        Limit::token_bucket(limit, per),
        Limit::sliding_window(limit, per),
        Limit::sliding_log(limit, per),
        Limit::fixed_window(limit, per),
        Limit::fixed_window(limit, per).from_first_use(),
    ]
}

#[test]
fn every_algorithm_admits_exactly_its_limit() {
    // A token bucket in ETS admitted 7,439 of 5,000.
    const LIMIT: u64 = 5_000;
    for limit in each(LIMIT, DAY) {
        let shared = Shared::of(limit.clone());
        let admitted = sum_of_threads(&shared, |shared, _| {
            (0..LIMIT / 4).map(|_| u64::from(shared.takes(0, 1))).sum()
        });
        assert_eq!(admitted, LIMIT, "{limit:?}");
        assert_eq!(shared.left(0), 0);
    }
}

#[test]
fn costs_of_all_sizes_add_up_to_the_limit() {
    const LIMIT: u64 = 5_000;
    for limit in each(LIMIT, DAY) {
        let shared = Shared::of(limit.clone());
        let admitted = sum_of_threads(&shared, |shared, number| {
            let costs = (0..2_000).map(|call| 1 + (call + number) % 4);
            costs
                .map(|cost| if shared.takes(0, cost) { cost } else { 0 })
                .sum()
        });
        // The threads with a cost of 1 took the last units.
        assert_eq!(admitted, LIMIT, "{limit:?}");
    }
}

#[test]
fn all_windows_of_a_call_take_or_none() {
    let limits = [
        (1, Limit::token_bucket(1_000, DAY)),
        (2, Limit::sliding_window(700, DAY)),
        (3, Limit::sliding_log(900, DAY)),
        (4, Limit::fixed_window(800, DAY)),
    ];
    let shared = Shared::new(&limits, u64::MAX);
    let admitted = sum_of_threads(&shared, |shared, _| {
        (0..1_000).map(|_| u64::from(shared.takes_all(0, 1))).sum()
    });
    assert_eq!(admitted, 700);
    let answer = shared
        .limiter
        .peek_all(shared.epoch, shared.key(0), Select::All, 0);
    let left = answer
        .expect("open")
        .usages()
        .iter()
        .map(|(_, usage)| usage.remaining)
        .collect::<Vec<_>>();
    assert_eq!(left, [300, 0, 200, 100]);
}

#[test]
fn refunded_units_can_be_taken_again_and_balance() {
    for limit in each(10, DAY) {
        let shared = Shared::of(limit.clone());
        let outstanding = Arc::new((shared, AtomicI64::new(0)));
        let taken = sum_of_threads(&outstanding, |(shared, outstanding), _| {
            let mut taken = 0;
            for _ in 0..2_000 {
                if shared.takes(0, 1) {
                    taken += 1;
                    let now = outstanding.fetch_add(1, Ordering::Relaxed) + 1;
                    assert!(now <= 10, "{now} of 10 outstanding");
                    outstanding.fetch_sub(1, Ordering::Relaxed);
                    shared.refund(0, 1);
                }
            }
            taken
        });
        assert!(taken > 10, "{limit:?}");
        assert_eq!(outstanding.0.left(0), 10, "{limit:?}");
    }
}

#[test]
fn no_key_is_lost_or_doubled_while_the_table_grows() {
    const KEYS: u64 = 30_000;
    const LIMIT: u64 = 3;
    let limits = [
        (ONLY, Limit::token_bucket(LIMIT, DAY)),
        (2, Limit::sliding_log(LIMIT + 1, DAY)),
    ];
    let shared = Shared::new(&limits, u64::MAX);
    let admitted = sum_of_threads(&shared, |shared, number| {
        // Each thread visits the keys in another order, every second one backwards.
        let keys = (0..KEYS).map(|turn| {
            let key = (turn + number * KEYS / THREADS) % KEYS;
            if number % 2 == 0 {
                key
            } else {
                KEYS - 1 - key
            }
        });
        keys.map(|key| u64::from(shared.takes_all(key, 1))).sum()
    });
    assert_eq!(admitted, KEYS * LIMIT);
    let stats = shared.limiter.stats(shared.epoch).expect("open");
    assert_eq!(stats.keys, KEYS);
    let decisions = stats.decisions();
    assert_eq!(decisions.allowed + decisions.denied, KEYS * THREADS);
    assert_eq!(decisions.denied, KEYS * (THREADS - LIMIT));
    shared.clock.advance(Nanos::from(2 * DAY));
    let swept = shared.limiter.sweep(shared.epoch, usize::MAX);
    assert_eq!(swept, Ok(usize::try_from(KEYS).expect("few")));
}

#[test]
fn the_cap_on_keys_holds_and_is_freed() {
    const ROOM: u64 = 1_000;
    let shared = Shared::new(&[(ONLY, Limit::token_bucket(2, SECOND))], ROOM);
    for _ in 0..3 {
        let admitted = sum_of_threads(&shared, |shared, number| {
            let ids = (0..1_000).map(|id| id + number * 1_000);
            ids.map(|id| u64::from(shared.takes(id, 1))).sum()
        });
        assert!(admitted >= ROOM);
        let stats = shared.limiter.stats(shared.epoch).expect("open");
        assert_eq!(stats.keys, ROOM);
        shared.clock.advance(Nanos::from(SECOND));
        let swept = shared.limiter.sweep(shared.epoch, usize::MAX);
        assert_eq!(swept, Ok(usize::try_from(ROOM).expect("few")));
    }
}

#[test]
fn a_clock_that_threads_move_loses_no_step_and_adds_no_token() {
    let shared = Shared::of(Limit::token_bucket(1_000, SECOND).with_burst(50));
    let start = shared.clock.now().0;
    let admitted = sum_of_threads(&shared, |shared, number| {
        let calls = (0..20_000).map(|call| {
            if call % THREADS == number {
                shared.clock.advance(Nanos(100_000));
            }
            u64::from(shared.takes(0, 1))
        });
        calls.sum()
    });
    let passed = shared.clock.now().0 - start;
    assert_eq!(passed, 20_000 * 100_000);
    let most = 50 + passed / 1_000_000;
    assert!(admitted <= most, "{admitted} of {most}");
    // Some thread checked before each token was late.
    assert!(admitted >= most - 1, "{admitted} of {most}");
}

#[test]
fn real_time_admits_at_most_the_burst_and_the_refill() {
    let options = Options::default();
    let limits = [(ONLY, Limit::token_bucket(1_000_000, SECOND).with_burst(100))];
    let (limiter, epoch) = Limiter::new(&limits, options).expect("valid limits");
    let key = Seed::random().key(b"somebody");
    let shared = Arc::new((limiter, epoch, key));
    let before = monotonic();
    let admitted = sum_of_threads(&shared, |(limiter, epoch, key), _| {
        let answers = (0..50_000).map(|_| limiter.check(*epoch, *key, ONLY, 1));
        answers
            .map(|answer| u64::from(answer.expect("open").allowed()))
            .sum()
    });
    let passed = monotonic().0 - before.0;
    // Readings of the clock may differ by less than the microsecond of a token.
    let most = 100 + passed / 1_000 + 1;
    assert!(admitted <= most, "{admitted} of {most} in {passed} ns");
    assert!(admitted >= 100);
}

#[test]
fn changes_at_the_same_time_admit_at_most_the_largest_limit() {
    const HIGH: u64 = 150;
    for limit in each(100, DAY) {
        let shared = Shared::of(limit.clone());
        let changes = Arc::new((shared, limit.clone(), AtomicU64::new(0)));
        let admitted = sum_of_threads(&changes, |(shared, limit, changed), number| {
            let (limiter, epoch) = (&shared.limiter, shared.epoch);
            let mut admitted = 0;
            for call in 0..3_000_u64 {
                if number == 0 && call % 10 == 0 {
                    let amount = 50 + call % (HIGH - 49);
                    let new = Limit::new(amount, DAY, limit.algorithm());
                    limiter
                        .update_limits(epoch, &[(ONLY, new.clone())])
                        .expect("valid");
                    changed.fetch_add(1, Ordering::Relaxed);
                }
                if number == 1 && call % 10 == 0 {
                    let scale = Scale::from_ppm(100_000 + 1_000 * (call % 900) as u32);
                    limiter.set_scale(epoch, scale).expect("open");
                }
                if number == 2 && call % 10 == 0 {
                    limiter.sweep(epoch, 1_000).expect("open");
                    limiter.stats(epoch).expect("open");
                }
                admitted += u64::from(shared.takes(0, 1));
            }
            admitted
        });
        assert_eq!(changes.2.load(Ordering::Relaxed), 300);
        // A token that was taken at a tenth of the scale costs ten.
        assert!((5..=HIGH).contains(&admitted), "{admitted} by {limit:?}");
    }
}
