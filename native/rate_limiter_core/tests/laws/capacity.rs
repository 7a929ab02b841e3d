//! A limiter has room for a number of keys: keys with a slot stay exact, a key with uses is never forgotten, new keys
//! are never admitted too often, and memory is bounded.

use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Limit, ManualClock, Retry};

use crate::given::{self, Step};
use crate::model::{Call, Model};
use crate::player::Player;
use crate::rig::{Rig, ONLY};

const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);

fn nanos(span: Duration) -> u64 {
    span.as_nanos().try_into().expect("less than 584 years")
}

/// Enough keys that some share a stripe.
const IDS: u64 = 150;

/// Time moves forward and limits stay, since a model does not know when the overflow state was touched.
fn goes_on(step: &Step) -> bool {
    !matches!(step, Step::Back(_) | Step::Update(..))
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn no_key_is_admitted_more_often_than_alone(
        limits in collection::vec(given::limits(), 1..=2),
        max_keys in 0..12_u64,
        start in given::starts(),
        history in collection::vec(given::steps(IDS), 1..300),
    ) {
        let capped = |limits: &[_]| Rig::capped(limits, max_keys);
        let mut player = Player::with(&limits, start, capped);
        let mut model = Model::new(&player.limits);
        for step in history.iter().filter(|step| goes_on(step)) {
            let Some((call, usages)) = player.step(step) else { continue };
            let now = player.rig.now();
            let expected = match &call {
                // Only admitted calls count.
                Call::Check(id, tags, cost) if usages.iter().any(|(_, usage)| !usage.allowed()) => {
                    model.peek(now, *id, tags, *cost)
                }
                call => model.call(now, call),
            };
            let allowed = usages.iter().all(|(_, usage)| usage.allowed());
            for ((_, usage), (_, expected)) in usages.iter().zip(&expected) {
                prop_assert!(expected.allowed() || !usage.allowed(), "{:?}", call);
                // `remaining` is after an admitted call: comparable if both admit or both deny.
                if allowed == expected.allowed() {
                    prop_assert!(usage.remaining <= expected.remaining, "{:?}", call);
                }
            }
            prop_assert!(player.rig.stats().keys <= max_keys);
        }
    }

    #[test]
    fn all_room_is_freed_in_the_end(
        limits in collection::vec(given::limits(), 1..=2),
        max_keys in 1..40_u64,
        history in collection::vec(given::steps(IDS), 1..200),
    ) {
        let capped = |limits: &[_]| Rig::capped(limits, max_keys);
        let mut player = Player::with(&limits, 0, capped);
        // A change of limit can prolong a debt beyond the last time.
        for step in history.iter().filter(|step| !matches!(step, Step::Update(..))) {
            player.step(step);
        }
        let rig = &player.rig;
        for id in 0..IDS {
            rig.reset(id, &player.tags());
        }
        rig.scale(1_000_000);
        rig.at(ManualClock::END.0);
        rig.sweep();
        // A key with a log takes the room of two keys: one for its first stamps.
        let logs = limits.iter().filter(|limit| limit.algorithm() == Algorithm::SlidingLog);
        let room = 1 + logs.count() as u64;
        let already = rig.stats().overflowed;
        for id in 0..max_keys / room {
            rig.check_all(IDS + id, &player.tags(), 1);
        }
        let stats = rig.stats();
        prop_assert_eq!((stats.keys, stats.overflowed), (max_keys / room, already));
    }
}

#[test]
fn known_keys_stay_exact_and_keep_their_debt_in_a_flood() {
    const KEYS: u64 = 500;
    let limits = [
        (1, Limit::token_bucket(5, DAY)),
        (2, Limit::sliding_window(6, DAY)),
        (3, Limit::fixed_window(7, DAY).from_first_use()),
    ];
    let rig = Rig::capped(&limits, KEYS);
    let mut model = Model::new(&limits);
    let check = |id, cost| Call::Check(id, vec![1, 2, 3], cost);
    for id in 0..KEYS {
        model.call(0, &check(id, 1 + id % 2));
        rig.call(&check(id, 1 + id % 2));
    }
    for flood in 0..100_000 {
        rig.check_all(KEYS + flood, &[1, 2, 3], 1);
        if flood % 10 == 0 {
            rig.advance(1_000_000);
            rig.sweep();
            let call = check(flood / 10 % KEYS, flood % 3);
            assert_eq!(rig.call(&call), model.call(rig.now(), &call));
        }
    }
    assert_eq!(rig.stats().keys, KEYS);
}

#[test]
fn a_key_in_debt_is_not_forgotten_to_make_room() {
    let rig = Rig::capped(&[(ONLY, Limit::token_bucket(3, DAY))], 1);
    assert!(rig.check(0, 3).allowed());
    for id in 1..10_000 {
        rig.check(id, 1);
        rig.sweep();
        assert!(matches!(rig.check(0, 1).retry, Retry::After(_)));
    }
}

#[test]
fn a_flood_of_a_million_ids_takes_bounded_memory_and_frees_it() {
    const KEYS: u64 = 50_000;
    let rig = Rig::capped(&[(ONLY, Limit::token_bucket(10, SECOND))], KEYS);
    for id in 0..1_000_000 {
        rig.check(id, 1);
    }
    let full = rig.stats();
    assert_eq!(full.keys, KEYS);
    assert!(full.bytes < KEYS * 64, "{full:?}");
    rig.advance(1_000_000_000);
    assert_eq!(rig.sweep() as u64, KEYS);
    let swept = rig.stats();
    assert!(swept.bytes < full.bytes / 2, "{swept:?}");
    // The limiter works as before the flood.
    assert_eq!(rig.check(0, 1).remaining, 9);
}

#[test]
fn the_stamps_of_sliding_logs_count_towards_the_cap() {
    const KEYS: u64 = 1_000;
    let limits = [(ONLY, Limit::sliding_log(400, DAY))];
    let rig = Rig::capped(&limits, KEYS);
    // 400 stamps take 512 places of 16 bytes: as much as 128 keys.
    for turn in 0..20 * 400 {
        rig.advance(1);
        assert!(rig.check(turn % 20, 1).allowed());
    }
    for id in 100..10_000 {
        rig.check(id, 1);
    }
    assert_eq!(rig.stats().keys, 20);
    assert!(rig.stats().overflowed > 0);
    assert!(
        rig.stats().bytes < 20 * 512 * 16 + 64 * KEYS,
        "{:?}",
        rig.stats()
    );
    rig.advance(nanos(DAY));
    assert_eq!(rig.sweep(), 20);
    assert!(rig.stats().bytes < 16_384, "{:?}", rig.stats());
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn a_log_with_a_slot_is_exact_in_a_full_limiter(
        limit in 1..40_u64,
        per in 1..1_000_u64,
        known in 1..4_u64,
        calls in collection::vec((0..8_u64, 0..4_u64, 0..400_u64), 1..300),
    ) {
        let limits = [(ONLY, Limit::sliding_log(limit, Duration::from_nanos(per)))];
        // The room of the first stamps of the known keys, and no more.
        let rig = Rig::capped(&limits, 2 * known);
        let mut model = Model::new(&limits);
        for id in 0..known {
            prop_assert_eq!(vec![(ONLY, rig.check(id, 1))], model.check(rig.now(), id, &[ONLY], 1));
        }
        for (id, cost, wait) in calls {
            // A key that would be forgotten if it had nothing that counts is no longer known.
            rig.advance(wait % per.min(20));
            for id in 0..known {
                if rig.peek(id, 0).remaining == limit {
                    prop_assert_eq!(rig.check(id, 1).remaining, limit - 1);
                    model.check(rig.now(), id, &[ONLY], 1);
                }
            }
            let usage = rig.check(id, cost);
            if id < known {
                prop_assert_eq!(vec![(ONLY, usage)], model.check(rig.now(), id, &[ONLY], cost));
            }
        }
    }
}

#[test]
fn a_newcomer_finds_the_room_of_idle_keys_and_of_expired_ids_of_calls() {
    const KEYS: u64 = 1_000;
    const KEEP: u64 = 1_000_000_000;
    let rig = Rig::capped(&[(ONLY, Limit::token_bucket(10, DAY))], KEYS);
    // One key, and ids of calls that cost nothing else any more.
    for request in 0..KEYS - 1 {
        rig.check_once(0, request, KEEP, 1);
        rig.refund(0, 1);
    }
    rig.reset(0, &[ONLY]);
    rig.at(KEEP);
    for id in 0..500 {
        assert_eq!(rig.check(id, 1).remaining, 9, "{id}");
    }
    assert_eq!((rig.stats().overflowed, rig.stats().keys), (0, 500));

    let rig = Rig::capped(&[(ONLY, Limit::token_bucket(10, SECOND))], KEYS);
    for id in 0..KEYS {
        rig.check(id, 1);
    }
    rig.advance(nanos(SECOND));
    for id in KEYS..2 * KEYS {
        assert_eq!(rig.check(id, 1).remaining, 9, "{id}");
    }
    assert_eq!(rig.stats().overflowed, 0);
}

#[test]
fn a_sweep_inspects_as_many_slots_as_the_limiter_says() {
    for request_ids in [false, true] {
        let rig = Rig::of(Limit::token_bucket(10, SECOND));
        for id in 0..200_000 {
            if request_ids {
                rig.check_once(id % 10, id, 1, 1);
            } else {
                rig.check(id, 1);
            }
        }
        // Twice: after the flood has left, its stripes remain to be visited.
        for _ in 0..2 {
            rig.advance(nanos(SECOND));
            for id in 0..1_000 {
                rig.check(1_000_000 + id, 1);
            }
            let slots = rig.stats().slots;
            rig.advance(nanos(SECOND));
            for _ in 0..slots.div_ceil(2_000) {
                rig.sweep_step(2_000);
            }
            assert_eq!((rig.stats().keys, rig.stats().names), (0, 0));
            assert!(rig.stats().slots < slots);
        }
    }
}

#[test]
fn many_long_states_take_at_most_twice_the_memory_of_their_counts() {
    // The counts of 120 sub-windows and of the one that is over in part, of 32 bits each.
    const COUNTS: u64 = 121 * 4;
    for windows in [1, 8, 32] {
        let limit = Limit::sliding_window(10, DAY).with_sub_windows(120);
        let limits: Vec<_> = (0..windows).map(|tag| (tag, limit.clone())).collect();
        for keys in [1, 2, 3, 7, 50, 1_000] {
            let rig = Rig::new(&limits);
            let empty = rig.stats().bytes;
            for id in 0..keys {
                rig.check_one(id, 0, 1);
            }
            let bytes = rig.stats().bytes - empty;
            // Besides, each key may have a segment of its own, with tags and the words of the key.
            let most = 2 * keys * windows * (COUNTS + 16) + (keys + 1) * 192;
            assert!(
                bytes <= most,
                "{bytes} of {most}: {keys} keys, {windows} windows"
            );
        }
    }
}
