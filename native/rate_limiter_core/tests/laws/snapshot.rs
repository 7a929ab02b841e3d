//! A state that was exported from one limiter and imported into another has the same answers there.

use std::time::Duration;

use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Import, Limit, Nanos, Retry};

use crate::given::{self, Step};
use crate::player::Player;
use crate::rig::{Rig, ONLY};

const IDS: u64 = 3;

/// Returns whether a bucket of this limit counts in whole nanoseconds, so that the snapshot rounds nothing.
fn counts_in_nanos(limit: &Limit) -> bool {
    let (amount, per) = (u128::from(limit.limit()), limit.per().as_nanos());
    let rounding = per.div_ceil(amount) * amount - per;
    !matches!(limit.algorithm(), Algorithm::TokenBucket { .. }) || rounding * 100_000 <= per
}

/// Returns a limiter with the same limits at the same time, into which every key was imported.
fn moved(player: &Player, ppm: u32) -> Rig {
    let there = Rig::new(&player.limits);
    there.at(player.rig.now());
    there.scale(ppm);
    for id in 0..IDS {
        if let Some(known) = player.rig.snapshot(id) {
            assert!(there.import(id, &known, Import::Replace));
        }
    }
    there
}

/// The scale at the end of a history.
fn last_scale(history: &[Step]) -> u32 {
    let mut scales = history.iter().rev().filter_map(|step| match step {
        Step::Scale(ppm) => Some(*ppm),
        _ => None,
    });
    scales.next().unwrap_or(1_000_000)
}

/// Returns what is left now, and when `cost` can be taken.
fn room(rig: &Rig, id: u64, cost: u64) -> (u64, Retry) {
    (rig.peek(id, 0).remaining, rig.peek(id, cost).retry)
}

/// Returns whether there is more room, or room earlier.
fn is_laxer((remaining, retry): (u64, Retry), than: (u64, Retry)) -> bool {
    remaining > than.0 || retry < than.1
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn and_goes_on_alike(
        limits in proptest::collection::vec(given::limits(), 1..=3),
        start in given::starts(),
        before in given::histories(),
        after in given::histories(),
    ) {
        let mut player = Player::new(&limits, start);
        for step in before.iter().filter(|step| !matches!(step, Step::Back(_))) {
            player.step(step);
        }
        prop_assume!(player.limits.iter().all(|(_, limit)| counts_in_nanos(limit)));
        let there = moved(&player, last_scale(&before));
        for step in &after {
            match step {
                // A use that had expired at the export does not return there, as it could here; and a change of limit
                // may leave a fraction of a nanosecond here.
                Step::Back(_) | Step::Update(..) => continue,
                _ => (),
            }
            let here = player.step(step);
            there.at(player.rig.now());
            if let Some((call, answered)) = here {
                prop_assert_eq!(there.call(&call), answered, "{:?} at {}", call, player.rig.now());
            }
        }
    }

    #[test]
    fn an_imported_bucket_is_rounded_up_by_less_than_a_nanosecond(
        limit in given::limits(),
        start in given::starts(),
        history in given::histories(),
        cost in 1..=3_u64,
    ) {
        let mut player = Player::new(&[limit], start);
        for step in &history {
            player.step(step);
        }
        let there = moved(&player, last_scale(&history));
        for id in 0..IDS {
            let rooms = (room(&player.rig, id, cost), room(&there, id, cost));
            let history_was_set_back = history.iter().any(|step| matches!(step, Step::Back(_)));
            prop_assert!(history_was_set_back || !is_laxer(rooms.1, rooms.0), "{:?}", rooms);
            let (here, there) = (player.rig.peek(id, cost), there.peek(id, cost));
            prop_assert_eq!(there.max, here.max);
            prop_assert!(there.reset_after.0 <= here.reset_after.0.saturating_add(1));
            if let (Retry::After(here), Retry::After(there)) = (here.retry, there.retry) {
                prop_assert!(there.0 <= here.0.saturating_add(1));
            }
        }
    }

    #[test]
    fn an_import_at_least_never_makes_a_state_laxer(
        limit in given::limits(),
        start in given::starts(),
        one in given::histories(),
        other in given::histories(),
        cost in 1..=3_u64,
    ) {
        let still = |history: &[Step]| -> Vec<Step> {
            let kept = |step: &&Step| !matches!(step, Step::Update(..) | Step::Scale(_));
            history.iter().filter(kept).cloned().collect()
        };
        let mut players = [&one, &other].map(|history| {
            let mut player = Player::new(std::slice::from_ref(&limit), start);
            for step in still(history) {
                player.step(&step);
            }
            player
        });
        let now = players.iter().map(|player| player.rig.now()).max().unwrap_or(start);
        for player in &mut players {
            player.rig.at(now);
        }
        let [here, there] = players;
        for id in 0..IDS {
            let alone = room(&there.rig, id, cost);
            let Some(known) = here.rig.snapshot(id) else { continue };
            prop_assert!(there.rig.import(id, &known, Import::AtLeast));
            let both = room(&there.rig, id, cost);
            prop_assert!(!is_laxer(both, alone), "{:?} alone, {:?} then", alone, both);
            let here = room(&here.rig, id, cost);
            prop_assert!(!is_laxer(both, here), "{:?} here, {:?} there", here, both);
        }
    }
}

#[test]
fn a_new_key_without_room_is_not_stored_and_changes_nothing() {
    let limit = Limit::token_bucket(10, Duration::from_secs(1));
    let here = Rig::of(limit.clone());
    let there = Rig::capped(&[(ONLY, limit)], 1);
    here.check(1, 4);
    there.check(2, 1);
    let known = here.snapshot(1).expect("a key that has used something");
    assert!(!there.import(1, &known, Import::Replace));
    assert_eq!(there.snapshot(1), None);
    assert_eq!((there.stats().keys, there.stats().overflowed), (1, 0));
    // A known key needs no room.
    assert!(there.import(2, &known, Import::AtLeast));
    assert_eq!(there.peek(2, 1).remaining, 5);
    // A key without uses needs none either; and a key whose state becomes blank frees its room.
    let nothing = there.snapshot(2).map(|known| known.moved(Nanos(1 << 40)));
    assert!(there.import(1, nothing.as_ref().expect("a key"), Import::Replace));
    assert!(there.import(2, nothing.as_ref().expect("a key"), Import::Replace));
    assert_eq!(there.stats().keys, 0);
    assert!(there.import(1, &known, Import::Replace));
}

#[test]
fn an_imported_log_counts_towards_the_cap() {
    let limit = Limit::sliding_log(100, Duration::from_mins(1));
    let here = Rig::of(limit.clone());
    let there = Rig::capped(&[(ONLY, limit)], 20);
    for at in 0..100 {
        here.at(at).check(1, 1);
    }
    there.at(99);
    let known = here.snapshot(1).expect("a key that has used something");
    assert!(there.import(1, &known, Import::Replace));
    // A hundred stamps are 25 keys' worth: there is no room for another key.
    assert_eq!(there.peek(1, 1).remaining, here.peek(1, 1).remaining);
    there.check(2, 1);
    assert_eq!(there.stats().overflowed, 1);
    there.reset(1, &[ONLY]);
    there.check(3, 1);
    assert_eq!(there.stats().keys, 1);
}
