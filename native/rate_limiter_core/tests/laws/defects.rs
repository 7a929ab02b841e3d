//! Defects of other limiters, each reproduced.

use std::time::Duration;

use rate_limiter_core::{Limit, Nanos, Retry};

use crate::given::nanos;
use crate::rig::{Rig, ONLY};

const ID: u64 = 1;
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

fn second() -> Duration {
    nanos(SECOND)
}

/// Every kind of limit, with the same numbers.
fn each(limit: u64, per: Duration) -> [Limit; 5] {
    [
        Limit::token_bucket(limit, per),
        Limit::sliding_window(limit, per),
        Limit::sliding_log(limit, per),
        Limit::fixed_window(limit, per),
        Limit::fixed_window(limit, per).from_first_use(),
    ]
}

/// Returns how many of so many single calls at one time are admitted.
fn admitted(rig: &Rig, calls: u32) -> usize {
    (0..calls).filter(|_| rig.check(ID, 1).allowed()).count()
}

#[test]
fn an_idle_bucket_is_at_most_full() {
    // Floored at now less a full bucket, instead of at now, GCRA admitted 15 of 10 after a pause.
    let rig = Rig::of(Limit::token_bucket(10, second()));
    assert_eq!(admitted(&rig, 20), 10);
    for pause in [2 * SECOND, 3_600 * SECOND, 365 * 86_400 * SECOND] {
        rig.advance(pause);
        assert_eq!(admitted(&rig, 20), 10);
    }
}

#[test]
fn tokens_refill_one_by_one_and_not_once_a_second() {
    // A bucket that ticks in whole seconds admitted 40 of these.
    let rig = Rig::of(Limit::token_bucket(100, second()).with_burst(10));
    let mut through = 0;
    for call in 0..310 {
        rig.at(3 * SECOND * call / 300);
        through += u32::from(rig.check(ID, 1).allowed());
    }
    assert_eq!(through, 310);
}

#[test]
fn denied_calls_are_not_counted_so_a_persistent_client_recovers() {
    for limit in each(5, second()) {
        let rig = Rig::of(limit.clone());
        let mut through = 0;
        // A hundred calls a second, for ten seconds.
        for call in 0..1_000 {
            rig.at(call * 10 * MILLISECOND);
            through += u32::from(rig.check(ID, 1).allowed());
        }
        assert!((45..=55).contains(&through), "{through} by {limit:?}");
    }
}

#[test]
fn the_returned_wait_is_the_wait() {
    // One limiter always returned "in a second".
    let rig = Rig::of(Limit::token_bucket(4, second()));
    rig.check(ID, 4);
    let waits = [(1, 250), (2, 500), (4, 1_000)];
    for (cost, wait) in waits {
        let retry = rig.peek(ID, cost).retry;
        assert_eq!(retry, Retry::After(Nanos(wait * MILLISECOND)));
    }
    rig.advance(249 * MILLISECOND);
    assert_eq!(rig.peek(ID, 1).retry, Retry::After(Nanos(MILLISECOND)));
}

#[test]
fn a_wait_is_never_rounded_down_to_nothing() {
    let rig = Rig::of(Limit::token_bucket(1, second()));
    rig.check(ID, 1);
    rig.advance(SECOND - 1);
    let Retry::After(wait) = rig.check(ID, 1).retry else {
        panic!("expected a wait of a nanosecond");
    };
    assert_eq!((wait.0, wait.as_millis_ceil()), (1, 1));
}

#[test]
fn windows_shorter_than_a_second_do_limit() {
    for limit in each(3, nanos(10 * MILLISECOND)) {
        let rig = Rig::of(limit);
        assert_eq!(admitted(&rig, 10), 3);
        rig.advance(30 * MILLISECOND);
        assert_eq!(admitted(&rig, 10), 3);
    }
}

#[test]
fn the_first_of_ten_leaves_nine_at_today_s_time_too() {
    // Floating-point seconds since 1970 lose the fraction of a second: 8 were left.
    for now in [0, 1_750_000_000 * SECOND, 1_750_000_000_123_456_789] {
        for limit in each(10, second()) {
            let rig = Rig::of(limit);
            rig.at(now);
            for left in (0..10).rev() {
                assert_eq!(rig.check(ID, 1).remaining, left);
            }
        }
    }
}

#[test]
fn a_call_that_costs_more_than_is_left_is_denied_and_takes_nothing() {
    // A bucket that went below zero admitted it.
    for limit in each(10, second()) {
        let rig = Rig::of(limit);
        rig.check(ID, 8);
        for _ in 0..3 {
            let denied = rig.check(ID, 3);
            assert!(matches!(denied.retry, Retry::After(_)));
            assert_eq!(denied.remaining, 2);
        }
        assert!(rig.check(ID, 2).allowed());
        assert_eq!(rig.check(ID, 1).remaining, 0);
    }
}

#[test]
fn every_algorithm_counts_the_cost() {
    for limit in each(10, second()) {
        let rig = Rig::of(limit);
        assert_eq!(rig.check(ID, 7).remaining, 3);
        assert!(!rig.check(ID, 4).allowed());
        assert_eq!(rig.check(ID, 11).retry, Retry::Never);
    }
}

#[test]
fn a_key_without_a_use_that_counts_does_not_stay() {
    // Keys without a time to live stayed forever.
    for limit in each(10, second()) {
        let rig = Rig::of(limit);
        for id in 0..1_000 {
            rig.check(id, 1);
        }
        assert_eq!(rig.sweep(), 0);
        rig.advance(2 * SECOND);
        assert_eq!(rig.sweep(), 1_000);
        assert_eq!(rig.stats().keys, 0);
    }
}

#[test]
fn around_a_boundary_a_sliding_window_admits_its_limit_once() {
    // An estimate from two counters admits up to 1.98 times the limit.
    for sub_windows in [1, 2, 10, 60, 120] {
        let limit = Limit::sliding_window(100, second()).with_sub_windows(sub_windows);
        let rig = Rig::of(limit);
        let mut through = Vec::new();
        for at in (900..2_900).step_by(5) {
            rig.at(at * MILLISECOND);
            through.extend((0..admitted(&rig, 7)).map(|_| at));
        }
        let most = through.iter().map(|&start| {
            let within = through
                .iter()
                .filter(|&&at| at >= start && at < start + 1_000);
            within.count()
        });
        assert_eq!(most.max(), Some(100));
    }
}

#[test]
fn a_call_that_one_window_denies_takes_nothing_from_the_others() {
    // Windows were checked one after the other: the first had already taken.
    let limits = [
        (1, Limit::token_bucket(100, second())),
        (2, Limit::fixed_window(2, second())),
        (3, Limit::sliding_log(100, second())),
    ];
    let rig = Rig::new(&limits);
    for _ in 0..50 {
        rig.check_all(ID, &[1, 2, 3], 1);
    }
    let answer = rig.peek_all(ID, &[1, 2, 3], 0);
    let left = answer.usages().iter().map(|(_, usage)| usage.remaining);
    assert_eq!(left.collect::<Vec<_>>(), [98, 0, 98]);
}

#[test]
fn a_refund_never_exceeds_a_full_bucket() {
    for limit in each(10, second()) {
        let rig = Rig::of(limit);
        rig.check(ID, 3);
        assert_eq!(rig.refund(ID, 100).remaining, 10);
        assert_eq!(rig.refund(ID, 100).remaining, 10);
        assert_eq!(admitted(&rig, 20), 10);
    }
}

#[test]
fn a_raised_limit_admits_a_waiting_client() {
    // Converted again at each denial, the debt drained at the old rate: for ten days here.
    let day = nanos(86_400 * SECOND);
    for limit in each(10, day) {
        let rig = Rig::of(limit.clone());
        rig.check(ID, 10);
        let fast = Limit::new(10, second(), limit.algorithm());
        rig.update(ONLY, &fast).expect("a limit that is kept");
        let Retry::After(wait) = rig.check(ID, 1).retry else {
            panic!("expected a wait");
        };
        assert!(wait.0 <= 2 * SECOND, "{wait:?}");
        rig.advance(wait.0 - 1);
        assert!(!rig.check(ID, 1).allowed());
        rig.advance(1);
        assert!(rig.check(ID, 1).allowed());
    }
}
