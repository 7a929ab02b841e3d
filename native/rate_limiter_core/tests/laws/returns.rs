//! A window that returns to a period that it had.

use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use proptest::sample::select;
use rate_limiter_core::{Algorithm, Limit};

use crate::given;
use crate::rig::{Rig, ONLY};

const SECOND: u64 = 1_000_000_000;
const ID: u64 = 7;
/// A multiple of all periods.
const START: u64 = 1_200_000 * SECOND;

fn of(limit: u64, per_ms: u64, algorithm: Algorithm) -> Limit {
    Limit::new(limit, Duration::from_millis(per_ms), algorithm)
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        (1..=10_u32).prop_map(|sub_windows| Algorithm::SlidingWindow { sub_windows }),
        Just(Algorithm::SlidingLog),
        any::<bool>().prop_map(|aligned| Algorithm::FixedWindow { aligned }),
    ]
}

/// Two limits of different periods.
fn limits() -> impl Strategy<Value = Vec<Limit>> {
    let periods = prop::sample::subsequence(vec![1_000_u64, 4_000, 12_000, 60_000], 2);
    let amounts = collection::vec(1..=30_u64, 2);
    (algorithms(), periods, amounts).prop_map(|(algorithm, periods, amounts)| {
        let each = periods.iter().zip(amounts);
        each.map(|(per, amount)| of(amount, *per, algorithm))
            .collect()
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// Changes to one of the limits.
    Change(usize),
    Take(u64),
    /// In milliseconds.
    Wait(u64),
    Sweep,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..2_usize).prop_map(Step::Change),
        6 => (1..=8_u64).prop_map(Step::Take),
        3 => prop_oneof![0..1_500_u64, select(vec![4_000, 12_000, 59_999])].prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(given::config())]

    /// In any stretch, the windows admit at most the largest limit, and the time at the fastest rate.
    #[test]
    fn periods_in_turn_admit_no_more_than_the_largest_limit_and_the_fastest_rate(
        limits in limits(),
        history in collection::vec(steps(), 1..80),
    ) {
        let rig = Rig::of(limits[0].clone());
        rig.at(START);
        let rate = |limit: &Limit| (u128::from(limit.limit()) * 1_000_000).div_ceil(limit.per().as_millis());
        let fastest = limits.iter().map(rate).max().expect("a limit");
        let largest = limits.iter().map(Limit::limit).max().expect("a limit");
        let is_fixed = matches!(limits[0].algorithm(), Algorithm::FixedWindow { .. });
        let mut uses: Vec<(u64, u64)> = Vec::new();
        for step in history {
            match step {
                Step::Change(to) => rig.update(ONLY, &limits[to]).expect("the same shape"),
                Step::Wait(millis) => rig.advance(millis * 1_000_000),
                Step::Sweep => drop(rig.sweep()),
                Step::Take(cost) => {
                    if !rig.check(ID, cost).allowed() {
                        continue;
                    }
                    uses.push((rig.now(), cost));
                    let mut sum = 0;
                    for (at, cost) in uses.iter().rev() {
                        sum += cost;
                        let millis = u128::from(rig.now() - at) / 1_000_000;
                        // A fixed window admits twice its limit around a boundary.
                        let most = u128::from(largest) * if is_fixed { 2 } else { 1 };
                        let most = most + (millis * fastest).div_ceil(1_000_000);
                        prop_assert!(u128::from(sum) <= most, "{sum} of {most} in {millis} ms");
                    }
                }
            }
        }
    }

    #[test]
    fn what_counted_under_a_period_counts_again(
        algorithm in algorithms(),
        used in 1..=20_u64,
        keys in 1..200_u64,
        between in 0..40_000_u64,
    ) {
        let [long, short] = [of(20, 60_000, algorithm), of(20, 1_000, algorithm)];
        let rig = Rig::of(long.clone());
        rig.at(START);
        for id in 0..keys {
            prop_assert!(rig.check(id, used).allowed());
        }
        rig.update(ONLY, &short).expect("the same shape");
        rig.advance(2 * SECOND);
        for id in 0..keys {
            // Converts the state.
            rig.peek(id, 0);
        }
        rig.sweep();
        rig.advance(between * 1_000_000);
        // More keys, so that stripes split.
        for id in keys..2 * keys {
            rig.check(id, 1);
        }
        rig.refund(0, 1);
        rig.update(ONLY, &long).expect("the same shape");
        for id in 1..keys {
            prop_assert_eq!(rig.peek(id, 0).remaining, 20 - used);
        }
        prop_assert_eq!(rig.peek(0, 0).remaining, 20 - used + 1);
    }
}

#[test]
fn a_reset_ends_what_counted_under_a_former_period() {
    for algorithm in [
        Algorithm::SlidingWindow { sub_windows: 10 },
        Algorithm::SlidingLog,
        Algorithm::FixedWindow { aligned: true },
        Algorithm::FixedWindow { aligned: false },
    ] {
        let [long, short] = [of(20, 60_000, algorithm), of(20, 1_000, algorithm)];
        let rig = Rig::of(long.clone());
        rig.at(START);
        rig.check(ID, 15);
        rig.check(8, 15);
        rig.update(ONLY, &short).expect("the same shape");
        rig.advance(2 * SECOND);
        rig.reset(ID, &[ONLY]);
        rig.update(ONLY, &long).expect("the same shape");
        assert_eq!(rig.peek(ID, 0).remaining, 20, "{algorithm:?}");
        assert_eq!(rig.peek(8, 0).remaining, 5, "{algorithm:?}");
    }
}

#[test]
fn a_copy_of_the_states_is_freed_when_it_counts_no_more() {
    let algorithm = Algorithm::SlidingLog;
    let [long, short] = [of(20, 60_000, algorithm), of(20, 1_000, algorithm)];
    let rig = Rig::of(long.clone());
    rig.at(START);
    for id in 0..1_000 {
        rig.check(id, 1);
    }
    let bytes = || rig.stats().bytes;
    let before = bytes();
    rig.update(ONLY, &short).expect("the same shape");
    assert!(bytes() > before * 3 / 2);
    rig.advance(121 * SECOND);
    rig.sweep();
    assert!(bytes() < before / 2, "{} of {before}", bytes());
    // Nothing returns any more, and what is taken since then counts once.
    rig.check(3, 2);
    rig.update(ONLY, &long).expect("the same shape");
    assert_eq!(rig.peek(3, 0).remaining, 18);
}
