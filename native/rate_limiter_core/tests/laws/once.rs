//! A call that is repeated with its id is charged once.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rate_limiter_core::Limit;

use crate::given;
use crate::rig::{Rig, ONLY};

const KEEP: u64 = 5_000_000_000;

fn bucket() -> Limit {
    Limit::token_bucket(10, Duration::from_mins(1))
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn a_first_call_with_an_id_has_the_answer_of_a_call_without(
        limit in given::limits(),
        start in 0..1_u64 << 60,
        calls in proptest::collection::vec(
            (0..2_u64, proptest::option::of(0..4_u64), 0..=3_u64, 0..=KEEP / 2, any::<bool>()), 1..60,
        ),
    ) {
        let (named, plain) = (Rig::of(limit.clone()), Rig::of(limit));
        named.at(start);
        plain.at(start);
        let mut admitted = HashMap::new();
        for (id, request, cost, wait, sweeps) in calls {
            let now = plain.now();
            let Some(request) = request else {
                prop_assert_eq!(named.check(id, cost), plain.check(id, cost));
                continue;
            };
            let again = admitted.get(&(id, request)).is_some_and(|&until| now < until);
            let charged = if again { 0 } else { cost };
            let answer = named.check_once(id, request, KEEP, cost);
            let expected = plain.check(id, charged);
            prop_assert_eq!(answer.binding().1, expected);
            if expected.allowed() && charged > 0 {
                admitted.insert((id, request), now + KEEP);
            }
            for rig in [&named, &plain] {
                rig.advance(wait);
                if sweeps {
                    rig.sweep();
                }
            }
        }
    }
}

#[test]
fn an_id_takes_room_as_a_key_does_and_frees_it() {
    let rig = Rig::capped(&[(ONLY, bucket())], 3);
    rig.check_once(1, 1, KEEP, 1);
    rig.check_once(1, 2, KEEP, 1);
    assert_eq!((rig.stats().keys, rig.stats().names), (1, 2));
    // Neither a new key nor a third id finds room: that call, repeated, is charged again.
    rig.check(2, 1);
    assert_eq!(rig.stats().overflowed, 1);
    rig.check_once(1, 3, KEEP, 1);
    assert_eq!(rig.check_once(1, 3, KEEP, 1).binding().1.remaining, 6);
    assert_eq!(rig.check_once(1, 1, KEEP, 1).binding().1.remaining, 6);
    rig.at(KEEP);
    assert_eq!(rig.sweep(), 2);
    assert_eq!(rig.stats().names, 0);
    // 5 s refill less than one token.
    assert_eq!(rig.check_once(1, 1, KEEP, 1).binding().1.remaining, 5);
    assert_eq!(rig.stats().names, 1);
}

#[test]
fn thousands_of_ids_are_found_again() {
    let rig = Rig::of(Limit::token_bucket(1_000_000, Duration::from_mins(1)));
    for _ in 0..2 {
        for request in 0..20_000 {
            assert!(rig.check_once(1, request, KEEP, 1).allowed());
        }
    }
    assert_eq!(rig.stats().names, 20_000);
    assert_eq!(rig.peek(1, 0).remaining, 980_000);
}

#[test]
fn one_of_many_concurrent_repetitions_is_charged() {
    let rig = Rig::of(Limit::token_bucket(10_000, Duration::from_mins(1)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for request in 0..2_000 {
                    assert!(rig.check_once(request % 3, request, KEEP, 1).allowed());
                }
            });
        }
    });
    let left: u64 = (0..3).map(|id| rig.peek(id, 0).remaining).sum();
    assert_eq!(left, 30_000 - 2_000);
}
