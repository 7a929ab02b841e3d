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
fn a_new_slot_begins_with_the_debt_of_the_overflow() {
    let limits = [
        Limit::token_bucket(5, DAY),
        Limit::sliding_window(5, DAY),
        Limit::sliding_log(5, DAY),
        Limit::fixed_window(5, DAY).from_first_use(),
    ];
    for limit in limits {
        // The first stamps of a log, also of the overflow state, take as much room as a key.
        let room = if limit.algorithm() == Algorithm::SlidingLog {
            3
        } else {
            1
        };
        let rig = Rig::capped(&[(ONLY, limit)], room);
        for id in 0..room {
            assert!(rig.check(id, 1).allowed());
        }
        let newcomer = 100;
        assert_eq!(rig.check(newcomer, 3).remaining, 2);
        let before = rig.stats();
        assert!(before.overflowed > 0);
        for id in 0..room {
            rig.reset(id, &[ONLY]);
        }
        assert_eq!(rig.stats().keys, 0);
        assert_eq!(rig.check(newcomer, 1).remaining, 1);
        let after = rig.stats();
        assert_eq!((after.keys, after.overflowed), (1, before.overflowed));
    }
}

#[test]
fn a_split_keeps_the_debt_of_the_overflow() {
    // So many keys that each of 64 stripes is nearly too large: when other keys replace them, some split. (A machine
    // with many cores begins with more stripes. Then no stripe splits, and the test checks less.)
    let tables = [
        // A log takes the room of two keys.
        (30_000, 1, Limit::token_bucket(1_000, DAY)),
        (41_000, 2, Limit::sliding_log(1_000, DAY)),
    ];
    for (keys, room, limit) in tables {
        let rig = Rig::capped(&[(ONLY, limit.clone())], keys * room);
        let newcomers = 100_000..100_300;
        for id in (0..keys).chain(newcomers.clone()) {
            assert!(rig.check(id, 1).allowed());
        }
        assert!(rig.stats().overflowed >= 300);
        for id in 0..keys {
            rig.reset(id, &[ONLY]);
            let usage = rig.check(200_000 + id, 1);
            assert!(usage.allowed() && usage.remaining < 1_000);
        }
        for id in newcomers {
            assert!(rig.peek(id, 0).remaining < 1_000, "{id} of {limit:?}");
        }
        // All that was counted is freed: as many keys as at first have room again.
        rig.at(ManualClock::END.0).sweep();
        let already = rig.stats().overflowed;
        for id in 0..keys {
            rig.check(id, 1);
        }
        let stats = rig.stats();
        assert_eq!((stats.keys, stats.overflowed), (keys, already), "{limit:?}");
    }
}

#[test]
fn a_refund_to_a_key_without_a_slot_adds_no_room_to_others() {
    let rig = Rig::capped(&[(ONLY, Limit::token_bucket(5, DAY))], 0);
    let admitted = (0..10_000).filter(|_| {
        // Every key that might share a stripe with key 0.
        for id in 1..100 {
            rig.refund(id, 5);
        }
        rig.check(0, 1).allowed()
    });
    assert_eq!(admitted.take(6).count(), 5);
}

#[test]
fn the_overflow_never_ends_a_window_of_a_key_early() {
    // Windows from the first use: other keys began theirs earlier, which must not end the window of key 0 early.
    let rig = Rig::capped(
        &[(ONLY, Limit::fixed_window(100, SECOND).from_first_use())],
        0,
    );
    let nanos = |at: u64| at * 1_000_000;
    for id in 1..200 {
        rig.at(nanos(0)).check(id, 1);
    }
    let mut first = None;
    let mut admitted = 0;
    for at in 900..1_850 {
        while rig.at(nanos(at)).check(0, 1).allowed() {
            let began = *first.get_or_insert(at);
            assert!(at < began + 1_000);
            admitted += 1;
        }
    }
    assert!((1..=100).contains(&admitted), "{admitted}");
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
    // As much as 1,000 keys: 64,000 bytes.
    const KEYS: u64 = 1_000;
    let limits = [(ONLY, Limit::sliding_log(10_000, SECOND))];
    let rig = Rig::capped(&limits, KEYS);
    let empty = rig.stats().bytes;
    let mut model = Model::new(&limits);
    let mut admitted = 0;
    for turn in 0..40_000 {
        rig.advance(50_000);
        let id = turn % 3;
        if rig.check(id, 1).allowed() {
            admitted += 1;
            let usages = model.check(rig.now(), id, &[ONLY], 1);
            assert!(usages[0].1.allowed());
        }
        // The last growth before the cap may have doubled the memory of a log.
        assert!(
            rig.stats().bytes - empty < 2 * KEYS * 64,
            "{:?}",
            rig.stats()
        );
    }
    assert!(admitted > 20_000, "{admitted}");
    rig.advance(1_000_000_000);
    assert_eq!(rig.sweep(), 3);
    assert!(rig.stats().bytes - empty < 4_096, "{:?}", rig.stats());
}
