//! Values that no limiter wrote.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rate_limiter_core::{Limit, Scale, Snapshot};

use super::sliding_log::MAX_UNITS;
use super::{put, Meter, Query};

const NOW: u64 = 1_735_689_600_000_000;

fn limits() -> Vec<Limit> {
    let (short, long) = (Duration::from_secs(10), Duration::from_hours(24 * 365));
    vec![
        Limit::token_bucket(10, short),
        Limit::token_bucket(3, Duration::from_secs(7)).with_burst(70),
        Limit::token_bucket(1, long).with_burst(70),
        Limit::sliding_window(10, short),
        Limit::sliding_window(10, long),
        Limit::sliding_log(10, short),
        Limit::fixed_window(10, short),
        Limit::fixed_window(10, long).from_first_use(),
    ]
}

/// Numbers at the edges of what fields hold.
fn numbers() -> impl Strategy<Value = u64> {
    let edges = [0, 1, 9, 10_000_000, 1 << 32, 1 << 52, 1 << 53, u64::MAX];
    prop_oneof![
        select(edges.to_vec()),
        0..20_u64,
        NOW - 20_000_000..NOW + 20_000_000,
        any::<u64>(),
    ]
}

/// Values of the right shape for some algorithm, and any bytes.
fn values() -> impl Strategy<Value = Vec<u8>> {
    let sizes = select(vec![
        vec![7, 4, 7, 4, 7, 4],
        vec![7, 4, 7, 4],
        vec![7, 7, 7],
        vec![7, 6, 6],
        vec![3, 6, 2],
        vec![1, 4, 7, 1, 1],
        vec![1, 4, 5, 1, 1],
    ]);
    let shaped = (any::<u8>(), 0..9_u8, sizes, vec(numbers(), 6));
    let shaped = shaped.prop_map(|(any, mark, sizes, numbers)| {
        let mut value = vec![if any < 64 { any + 128 } else { mark }];
        for (size, number) in sizes.into_iter().zip(numbers) {
            put(&mut value, number, size);
        }
        value
    });
    prop_oneof![shaped, vec(any::<u8>(), 0..300)]
}

fn is_bounded(state: &Snapshot) -> bool {
    match state {
        Snapshot::Log { uses } => uses.iter().map(|(_, units)| units).sum::<u64>() <= MAX_UNITS,
        Snapshot::Window { counts, .. } => counts.len() <= 121,
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_bounded_state_or_none(
        value in values(),
        now in prop_oneof![Just(NOW), 0..1_u64 << 53],
        cost in numbers(),
        denied in any::<bool>(),
    ) {
        for limit in limits() {
            let meter = Meter::new("any", &limit).expect("a valid limit");
            let query = Query { now, cost, scale: Scale::ONE, denied };
            if let Some((usage, state)) = meter.read(Some(&value), &query) {
                prop_assert!(is_bounded(&state), "{state:?}");
                prop_assert!(usage.remaining <= usage.max);
                prop_assert!(meter.portions(&state).len() <= 1 << 16);
            }
        }
    }
}

/// A full one of ten thousand took a server a millisecond of each call.
#[test]
fn a_log_has_a_lower_limit_than_in_memory() {
    let new = |limit| Meter::new("log", &Limit::sliding_log(limit, Duration::from_secs(10)));
    assert!(new(1_000).is_ok());
    let error = new(1_001).expect_err("a limit that is too high");
    assert!(
        error.to_string().contains("expected at most 1000"),
        "{error}"
    );
}

/// Such a value once made a node allocate 34 GB, one moment for each of nearly 2^32 units.
#[test]
fn a_log_of_more_units_than_any_limit_admits_is_not_a_state() {
    let meter = Meter::new("log", &Limit::sliding_log(10, Duration::from_secs(10)));
    let meter = meter.expect("a valid limit");
    let query = Query {
        now: NOW,
        cost: 1,
        scale: Scale::ONE,
        denied: false,
    };
    let read = |units| {
        let mut value = vec![5];
        for (number, size) in [(10_000_000, 7), (0, 4), (NOW, 7), (units, 4)] {
            put(&mut value, number, size);
        }
        meter.read(Some(&value), &query)
    };
    assert!(read(0xFFFF_FFFF).is_none() && read(MAX_UNITS + 1).is_none() && read(0).is_none());
    let (usage, _) = read(MAX_UNITS).expect("a state");
    assert_eq!(usage.remaining, 0);
}
