//! Each key is decided alone, whatever happens to others, and to forget an idle key changes no answer.

use proptest::prelude::*;
use rate_limiter_core::{Limit, ManualClock};

use crate::given::{self, Step};
use crate::model::{Call, Model};
use crate::player::Player;
use crate::rig::Rig;

/// Forward only: after the clock is set back, a forgotten idle key could count again.
fn goes_on(step: &Step) -> bool {
    !matches!(step, Step::Back(_) | Step::Sweep)
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn sweeping_idle_keys_changes_no_answer(
        limits in proptest::collection::vec(given::limits(), 1..=3),
        start in given::starts(),
        history in given::histories(),
    ) {
        let mut player = Player::new(&limits, start);
        let swept = Rig::new(&player.limits);
        for step in history.iter().filter(|step| goes_on(step)) {
            let played = player.step(step);
            swept.at(player.rig.now());
            swept.sweep();
            if let Some((call, usages)) = played {
                prop_assert_eq!(swept.call(&call), usages, "{:?}", call);
            }
        }
        // In the end no key is left.
        swept.at(ManualClock::END.0).sweep();
        prop_assert!(swept.stats().keys <= player.rig.stats().keys);
    }

    #[test]
    fn calls_for_other_keys_change_no_answer(
        limits in proptest::collection::vec(given::limits(), 1..=2),
        start in given::starts(),
        history in given::histories(),
        others in given::histories(),
    ) {
        let mut player = Player::new(&limits, start);
        let alone = Rig::new(&player.limits);
        let mut others = others.into_iter().cycle();
        for step in &history {
            let played = player.step(step);
            alone.at(player.rig.now());
            if let Some((call, usages)) = played {
                prop_assert_eq!(alone.call(&call), usages);
            }
            // A call for another key, at the same time.
            match others.next() {
                Some(Step::Check(id, _, cost)) => {
                    let cost = cost.units(&player.rig.peek_one(id + 100, 1, 0));
                    player.rig.check_all(id + 100, &player.tags(), cost);
                }
                Some(Step::Refund(id, ..)) => drop(player.rig.refund_all(id + 100, &player.tags(), 2)),
                Some(Step::Reset(id, _)) => player.rig.reset(id + 100, &player.tags()),
                _ => (),
            }
        }
    }
}

/// Enough keys that stripes split, segments grow, and keys leave and enter.
#[test]
fn each_of_many_keys_is_decided_as_by_its_own_model() {
    const KEYS: u64 = 20_000;
    let second = std::time::Duration::from_secs(1);
    let limits = [
        (1, Limit::token_bucket(3, second)),
        (2, Limit::sliding_window(4, second).with_sub_windows(4)),
        (3, Limit::sliding_log(4, second)),
        (4, Limit::fixed_window(4, second).from_first_use()),
    ];
    let rig = Rig::new(&limits);
    let mut model = Model::new(&limits);
    // The order of the calls is arbitrary, but the same in each run.
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..8 {
        for turn in 0..KEYS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Ever more keys, then ever fewer.
            let id = random % (KEYS * (4 - (4_u64).abs_diff(round)).max(1) / 4);
            let cost = random >> 60 & 3;
            let tags: &[u64] = if turn % 3 == 0 {
                &[1, 2, 3, 4]
            } else {
                &[1 + turn % 4]
            };
            let call = match random >> 40 & 15 {
                0 => Call::Refund(id, tags.to_vec(), cost),
                1 => Call::Reset(id, tags.to_vec()),
                _ => Call::Check(id, tags.to_vec(), cost),
            };
            let now = rig.now();
            assert_eq!(rig.call(&call), model.call(now, &call), "{call:?}");
            if turn % 1_000 == 0 {
                rig.advance(31_000_001);
                rig.sweep();
                model.sweep(rig.now());
                assert_eq!(rig.stats().keys, model.keys() as u64);
            }
        }
    }
    rig.advance(3_000_000_000);
    assert!(rig.sweep() > 0);
    assert_eq!(rig.stats().keys, 0);
}

#[test]
fn a_step_of_a_sweep_is_small_also_after_a_flood() {
    let limit = Limit::token_bucket(1, std::time::Duration::from_secs(1));
    let rig = Rig::new(&[(1, limit)]);
    for id in 0..100_000 {
        rig.check(id, 1);
    }
    rig.advance(1_000_000_000);
    assert_eq!(rig.sweep(), 100_000);
    // One key among the many slots that are left: a step finds it by chance, and no step visits all slots.
    rig.check(0, 1);
    rig.advance(1_000_000_000);
    let steps = (1..1_000_000).find(|_| rig.sweep_step(10) > 0);
    assert!(steps.is_some_and(|steps| steps > 5), "{steps:?}");
}
