//! Keys for which a limiter has no room are judged together, by the overflow state of their stripe: their debt is
//! kept, and no window of theirs ends early.

use std::time::Duration;

use rate_limiter_core::{Algorithm, CallError, Limit, ManualClock};

use crate::rig::{Rig, ONLY};

const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);

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
            let _refused = rig.try_refund(id, 5);
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
fn a_key_that_is_judged_together_with_others_is_not_reset_and_gets_nothing_back() {
    let limits = [
        Limit::token_bucket(5, SECOND),
        Limit::sliding_window(5, SECOND),
        Limit::sliding_log(5, SECOND),
        Limit::fixed_window(5, SECOND).from_first_use(),
    ];
    for limit in limits {
        let rig = Rig::capped(&[(ONLY, limit)], 0);
        // The key is unused, so a refund gives back nothing.
        assert_eq!(rig.try_reset(1), Ok(()));
        assert_eq!(rig.try_refund(1, 1).map(|usage| usage.remaining), Ok(5));
        assert!(rig.check(1, 3).allowed());
        assert_eq!(rig.try_reset(1), Err(CallError::NoRoom));
        assert_eq!(rig.try_refund(1, 1), Err(CallError::NoRoom));
        assert_eq!(rig.peek(1, 0).remaining, 2);
        // What all of them used counts no longer.
        rig.advance(3_000_000_000);
        assert_eq!(rig.try_reset(1), Ok(()));
    }
}
