//! A call that is repeated with its id is charged once.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rate_limiter_core::{Limit, Retry, Select};

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
            let again = admitted.get(&(id, request, cost)).is_some_and(|&until| now < until);
            let charged = if again { 0 } else { cost };
            let answer = named.check_once(id, request, KEEP, cost);
            let charged = if plain.peek(id, cost).retry == Retry::Never { cost } else { charged };
            let expected = plain.check(id, charged);
            prop_assert_eq!(answer.binding().1, expected);
            if expected.allowed() && charged > 0 {
                admitted.insert((id, request, cost), now + KEEP);
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
fn an_id_names_one_call_with_its_cost_and_windows() {
    let limits = [(1, bucket()), (2, bucket())];
    let rig = Rig::new(&limits);
    let left = |tags, cost| {
        let answer = rig.check_once_of(1, Select::Tags(tags), 9, KEEP, cost);
        let left = answer.usages().iter().map(|(_, usage)| usage.remaining);
        (answer.allowed(), left.collect::<Vec<_>>())
    };
    assert_eq!(left(&[1], 1), (true, vec![9]));
    assert_eq!(left(&[1], 1), (true, vec![9]));
    assert_eq!(left(&[1], 11), (false, vec![9]));
    assert_eq!(left(&[1], 2), (true, vec![7]));
    assert_eq!(left(&[2], 1), (true, vec![9]));
    assert_eq!(left(&[1, 2], 1), (true, vec![6, 8]));
    // The same windows, whatever their order.
    assert_eq!(left(&[2, 1], 1), (true, vec![6, 8]));
    assert_eq!(rig.check_once(1, 9, KEEP, 1).binding().1.remaining, 6);
    // Each of these calls has been admitted.
    assert_eq!(left(&[1], 2), (true, vec![6]));
}

#[test]
fn a_cost_above_the_maximum_is_denied_whatever_the_id() {
    let rig = Rig::of(bucket());
    assert!(rig.check_once(1, 9, KEEP, 8).allowed());
    rig.update(ONLY, &Limit::token_bucket(7, Duration::from_mins(1)))
        .expect("a limit that can be kept");
    assert_eq!(
        rig.check_once(1, 9, KEEP, 8).binding().1.retry,
        Retry::Never
    );
    assert!(rig.check_once(1, 8, KEEP, 1).binding().1.retry > Retry::Now);
    rig.update(ONLY, &bucket())
        .expect("a limit that can be kept");
    assert!(rig.check_once(1, 9, KEEP, 8).allowed());
}

#[test]
fn a_reset_or_a_refund_ends_the_ids_of_its_key() {
    let endings: [fn(&Rig); 2] = [
        |rig| rig.reset(1, &[ONLY]),
        |rig| {
            rig.refund(1, 4);
        },
    ];
    for end in endings {
        let rig = Rig::of(bucket());
        for _ in 0..3 {
            for _ in 0..2 {
                assert_eq!(rig.check_once(1, 9, KEEP, 4).binding().1.remaining, 6);
                assert!(rig.check_once(2, 9, KEEP, 4).allowed());
            }
            // Another key's ids, and a refund of nothing, end no call.
            rig.reset(3, &[ONLY]);
            rig.refund(1, 0);
            assert_eq!(rig.check_once(1, 9, KEEP, 4).binding().1.remaining, 6);
            end(&rig);
        }
        assert_eq!(rig.peek(2, 0).remaining, 6);
    }
}

#[test]
fn a_reset_ends_an_id_for_as_long_as_that_is_remembered() {
    let rig = Rig::of(bucket());
    rig.check_once(1, 9, KEEP, 4);
    rig.check_once(1, 8, 10 * KEEP, 4);
    rig.reset(1, &[ONLY]);
    rig.at(9 * KEEP);
    rig.sweep();
    assert_eq!(rig.check_once(1, 8, KEEP, 4).binding().1.remaining, 6);
}

#[test]
fn a_reset_without_room_for_a_note_ends_the_ids_of_more_keys() {
    let rig = Rig::capped(&[(ONLY, bucket())], 4);
    rig.check_once(1, 9, KEEP, 4);
    rig.check(2, 1);
    rig.check(3, 1);
    let before = rig.stats().names;
    rig.refund(1, 4);
    assert_eq!(rig.stats().names, before);
    assert_eq!(rig.check_once(1, 9, KEEP, 4).binding().1.remaining, 6);
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
