//! Extreme limits are kept exactly, or rejected with a reason.

use std::time::Duration;

use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Limit, Limiter, ManualClock, Nanos, Options, Retry, Tag};

use crate::given::{self, nanos};
use crate::rig::{Rig, ONLY};

const ID: u64 = 1;
const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const YEAR: u64 = 365 * DAY;

/// Every kind of limit, with the same numbers.
fn each(limit: u64, per: Duration) -> Vec<Limit> {
    vec![
        Limit::token_bucket(limit, per),
        Limit::sliding_window(limit, per),
        Limit::sliding_window(limit, per).with_sub_windows(1),
        Limit::sliding_window(limit, per).with_sub_windows(120),
        Limit::sliding_log(limit, per),
        Limit::fixed_window(limit, per),
        Limit::fixed_window(limit, per).from_first_use(),
    ]
}

fn refusal(limit: &Limit) -> String {
    let refused = limit.validate();
    refused
        .expect_err("a limit that cannot be kept")
        .to_string()
}

#[test]
fn keeps_one_a_day_one_a_year_and_one_a_nanosecond() {
    for per in [1, DAY, YEAR, 9 * YEAR] {
        for limit in each(1, nanos(per)) {
            let rig = Rig::of(limit.clone());
            for _ in 0..3 {
                assert!(rig.check(ID, 1).allowed(), "{limit:?}");
                let denied = rig.check(ID, 1);
                let Retry::After(wait) = denied.retry else {
                    panic!("expected a wait, got {denied:?} of {limit:?}");
                };
                // A strict window counts a sub-window longer, each of whole nanoseconds.
                let longest = match limit.algorithm() {
                    Algorithm::SlidingWindow { sub_windows } => {
                        per.div_ceil(sub_windows.into()) * u64::from(sub_windows + 1)
                    }
                    _ => per,
                };
                assert!(
                    wait.0 <= longest + longest / 10_000_000,
                    "{wait:?} of {limit:?}"
                );
                if limit.algorithm() != (Algorithm::FixedWindow { aligned: true }) {
                    assert!(wait.0 >= per, "{wait:?} of {limit:?}");
                }
                rig.advance(wait.0 - 1);
                assert!(!rig.check(ID, 1).allowed());
                rig.advance(1);
            }
        }
    }
}

#[test]
fn after_an_idle_year_there_is_a_full_limit_and_no_more() {
    for limit in each(1_000, nanos(SECOND)) {
        let rig = Rig::of(limit);
        for year in 0..3 {
            rig.at(year * YEAR);
            assert!(rig.check(ID, 999).allowed());
            assert!(rig.check(ID, 1).allowed());
            assert!(!rig.check(ID, 1).allowed());
        }
    }
}

#[test]
fn a_bucket_of_one_admits_one() {
    let rig = Rig::of(Limit::token_bucket(1_000, nanos(SECOND)).with_burst(1));
    for _ in 0..1_000 {
        assert!(rig.check(ID, 1).allowed());
        assert!(!rig.check(ID, 1).allowed());
        assert_eq!(rig.check(ID, 2).retry, Retry::Never);
        rig.advance(1_000_000);
    }
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn rates_are_kept_to_a_hundred_thousandth_and_never_exceeded(
        amount in prop_oneof![
            proptest::sample::select(vec![1, 3, 123_457, 1_000_000_001, u64::from(u32::MAX)]),
            1..=1_000_000_000_000_u64,
        ],
        per in prop_oneof![proptest::sample::select(vec![1, SECOND, DAY, YEAR]), 1..=YEAR],
        start in given::starts(),
    ) {
        let limit = Limit::token_bucket(amount, nanos(per)).with_burst(1_000_000);
        prop_assume!(limit.validate().is_ok());
        let rig = Rig::of(limit);
        let full = rig.at(start).check(ID, 1_000_000).reset_after.0;
        // A million tokens take this long, rounded up to a nanosecond at the end.
        let exact = 1_000_000 * u128::from(per);
        let kept = u128::from(full) * u128::from(amount);
        prop_assert!(kept >= exact);
        prop_assert!(kept <= exact + exact / 100_000 + u128::from(amount));
    }
}

#[test]
fn a_rate_that_cannot_be_counted_is_an_error() {
    let refused = refusal(&Limit::token_bucket(u64::MAX, nanos(SECOND)));
    let told = "limit: 18446744073709551615 per 1000000000 ns is more than 8,000,000 per ns, \
        which cannot be kept to 0.001 %";
    assert_eq!(refused, told);
    // The highest power of two: exact, so it is kept.
    let rig = Rig::of(Limit::token_bucket(1 << 40, nanos(1)));
    assert!(rig.check(ID, 1 << 40).allowed());
    assert_eq!(rig.check(ID, 1).retry, Retry::After(Nanos(1)));
    rig.advance(1);
    assert_eq!(rig.peek(ID, 0).remaining, 1 << 40);
}

#[test]
fn a_burst_that_cannot_be_counted_is_an_error_with_the_largest_burst() {
    for (amount, per) in [
        (1, YEAR),
        (100, SECOND),
        (1_000_000_001, SECOND),
        (u64::MAX / 2, DAY),
    ] {
        let limit = Limit::token_bucket(amount, nanos(per));
        let Err(refused) = limit.clone().with_burst(u64::MAX).validate() else {
            panic!("expected {limit:?} to refuse so large a burst");
        };
        let told = refused.to_string();
        let Some((_, told)) = told.split_once("burst: expected at most ") else {
            assert!(told.starts_with("limit: "), "{told}");
            continue;
        };
        let (most, _) = told
            .split_once(" at this rate, got: 18446744073709551615")
            .unwrap();
        let most: u64 = most.parse().unwrap();
        assert!(limit.clone().with_burst(most + 1).validate().is_err());
        let rig = Rig::of(limit.with_burst(most));
        assert_eq!(rig.check(ID, u64::MAX).retry, Retry::Never);
        assert_eq!(rig.check(ID, most).remaining, 0);
        assert!(matches!(rig.check(ID, 1).retry, Retry::After(_)));
    }
}

#[test]
fn the_largest_limits_of_windows_are_kept_and_larger_ones_are_errors() {
    let second = nanos(SECOND);
    for aligned in [true, false] {
        let limit = Limit::new(u64::MAX, second, Algorithm::FixedWindow { aligned });
        let rig = Rig::of(limit);
        assert_eq!(rig.check(ID, u64::MAX - 1).remaining, 1);
        assert!(matches!(rig.check(ID, u64::MAX).retry, Retry::After(_)));
        assert!(rig.check(ID, 1).allowed());
        assert!(matches!(rig.check(ID, 1).retry, Retry::After(_)));
    }
    let rig = Rig::of(Limit::sliding_window(u32::MAX.into(), second));
    assert!(rig.check(ID, u32::MAX.into()).allowed());
    assert_eq!(rig.check(ID, 1 << 32).retry, Retry::Never);
    assert!(!rig.check(ID, 1).allowed());

    let told = "limit: expected at most 4294967295 for this algorithm, got: 4294967296";
    assert_eq!(refusal(&Limit::sliding_window(1 << 32, second)), told);
    let told = "limit: expected at most 10000 for this algorithm, got: 10001";
    assert_eq!(refusal(&Limit::sliding_log(10_001, second)), told);
}

#[test]
fn an_invalid_limit_is_an_error() {
    for limit in each(0, nanos(SECOND)) {
        assert_eq!(refusal(&limit), "limit: expected at least 1, got: 0");
    }
    for limit in each(1, Duration::ZERO) {
        assert_eq!(
            refusal(&limit),
            "per: expected a period of at least 1 ns, got: 0"
        );
    }
    for limit in each(1, nanos(1 << 58)) {
        let told = "per: expected less than 9 years (2^58 ns), got: 288230376151711744 ns";
        assert_eq!(refusal(&limit), told);
    }
    for limit in each(1, Duration::MAX) {
        assert!(refusal(&limit).starts_with("per: expected less than 9 years"));
    }
    let limit = Limit::token_bucket(1, nanos(SECOND)).with_burst(0);
    assert_eq!(refusal(&limit), "burst: expected at least 1, got: 0");
    for sub_windows in [0, 121, u32::MAX] {
        let limit = Limit::sliding_window(1, nanos(SECOND)).with_sub_windows(sub_windows);
        let told = format!("sub_windows: expected 1 to 120, got: {sub_windows}");
        assert_eq!(refusal(&limit), told);
    }
}

#[test]
fn a_limiter_has_one_to_32_different_windows() {
    let limit = Limit::token_bucket(1, nanos(SECOND));
    let made = |tags: &[Tag]| {
        let limits: Vec<_> = tags.iter().map(|tag| (*tag, limit.clone())).collect();
        Limiter::new(&limits, Options::default()).map_err(|refused| refused.to_string())
    };
    assert!(made(&(0..32).collect::<Vec<_>>()).is_ok());
    for tags in [vec![], (0..33).collect()] {
        let told = format!("windows: expected 1 to 32, got: {}", tags.len());
        assert_eq!(made(&tags).unwrap_err(), told);
    }
    let told = "windows: expected each window once, got one twice";
    assert_eq!(made(&[1, 2, 1]).unwrap_err(), told);
}

#[test]
fn the_last_time_of_a_clock_adds_no_room() {
    // A clock stops at its last time, since later times could not be represented.
    for start in [
        u64::MAX,
        u64::MAX - 1,
        u64::MAX / 2,
        ManualClock::END.0 - 1,
        u64::MAX / 2 - SECOND,
    ] {
        for limit in each(10, nanos(SECOND)) {
            let rig = Rig::of(limit.clone());
            rig.at(start);
            let mut through = 0;
            for _ in 0..100 {
                through += u32::from(rig.check(ID, 1).allowed());
                rig.advance(1);
            }
            assert_eq!(through, 10, "{limit:?} at {start}");
        }
    }
}

#[test]
fn at_the_smallest_scale_a_slow_limit_still_admits_one_and_only_one() {
    // An interval that was cut to a word made any debt look like room.
    for per in [SECOND, DAY, YEAR] {
        let rig = Rig::of(Limit::token_bucket(1, nanos(per)));
        for ppm in [0, 1, 4] {
            rig.scale(ppm);
            rig.reset(ID, &[ONLY]);
            let usage = rig.check(ID, 1);
            assert_eq!((usage.max, usage.allowed()), (1, true));
            for _ in 0..10 {
                assert!(matches!(rig.check(ID, 1).retry, Retry::After(_)));
            }
        }
    }
}

#[test]
fn at_the_largest_scale_nothing_overflows() {
    for limit in each(10_000, nanos(SECOND)) {
        let rig = Rig::of(limit);
        rig.scale(u32::MAX);
        let max = rig.peek(ID, 0).max;
        assert!(max >= 10_000);
        assert!(rig.check(ID, max).allowed());
        assert!(!rig.check(ID, 1).allowed());
    }
    let rig = Rig::of(Limit::fixed_window(u64::MAX, nanos(SECOND)));
    rig.scale(u32::MAX);
    assert_eq!(rig.peek(ID, 0).max, u64::MAX);
}

#[test]
fn answers_stay_exact_after_a_clock_is_set_back_further_than_ticks_can_count() {
    // Three in a nanosecond are counted in ticks of 2^-17 ns: a word holds 39 hours of them.
    let limit = Limit::token_bucket(3, nanos(1)).with_burst(3_000_000);
    let start = 100 * DAY;
    let rig = Rig::of(limit);
    rig.at(start).check(ID, 3_000_000);
    for days in [1, 2, 90] {
        let now = start - days * DAY;
        let Retry::After(wait) = rig.at(now).check(ID, 1).retry else {
            panic!("expected a wait");
        };
        assert!(!rig.at(now + wait.0 - 1).peek(ID, 1).allowed());
        assert!(rig.at(now + wait.0).peek(ID, 1).allowed());
        // What is refunded then is not days of debt.
        rig.at(now).refund(ID, 1);
    }
    assert_eq!(rig.at(start).peek(ID, 0).remaining, 3);
}
