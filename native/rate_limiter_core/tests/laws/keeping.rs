//! Calls that take nothing change nothing, and a change of a limit adds no room.

use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Answer, Limit, Usage};

use crate::given::{self, Cost, Step};
use crate::model::{Call, ONE};
use crate::player::Player;

const ID: u64 = 0;

fn windows() -> impl Strategy<Value = Vec<Limit>> {
    proptest::collection::vec(given::limits(), 1..=3)
}

fn played(limits: &[Limit], start: u64, history: &[Step]) -> Player {
    let mut player = Player::new(limits, start);
    for step in history {
        player.step(step);
    }
    player
}

fn state(player: &Player) -> Answer {
    player.rig.peek_all(ID, &player.tags(), 0)
}

/// Calls that must leave no trace.
fn takes_nothing(call: &Call, usages: &[(u64, Usage)]) -> bool {
    match call {
        Call::Check(_, _, cost) => *cost == 0 || usages.iter().any(|(_, usage)| !usage.allowed()),
        Call::Peek(..) => true,
        _ => false,
    }
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn a_denied_call_takes_nothing_from_any_window(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
        cost in given::costs(),
    ) {
        let player = played(&limits, start, &history);
        let before = state(&player);
        let cost = cost.units(&before.binding().1);
        let answer = player.rig.check_all(ID, &player.tags(), cost);
        if answer.allowed() {
            for ((_, before), (_, after)) in before.usages().iter().zip(answer.usages()) {
                prop_assert!(after.remaining <= before.remaining.saturating_sub(cost));
            }
        } else {
            prop_assert_eq!(&state(&player), &before);
            for ((_, before), (_, denied)) in before.usages().iter().zip(answer.usages()) {
                prop_assert_eq!(denied.remaining, before.remaining);
                prop_assert_eq!(denied.reset_after, before.reset_after);
            }
        }
    }

    #[test]
    fn a_call_that_takes_nothing_changes_no_later_answer(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
    ) {
        // A change of limit is converted at the first touch, which may be a call that takes nothing: so no changes
        // here.
        let steady = history.iter().filter(|step| !matches!(step, Step::Update(..)));
        let mut player = Player::new(&limits, start);
        let silent = Player::new(&limits, start);
        for step in steady {
            let Some((call, usages)) = player.step(step) else { continue };
            silent.rig.at(player.rig.now());
            if !takes_nothing(&call, &usages) {
                prop_assert_eq!(silent.rig.call(&call), usages);
            }
        }
        silent.rig.at(player.rig.now());
        prop_assert_eq!(state(&silent), state(&player));
        prop_assert!(silent.rig.stats().keys <= player.rig.stats().keys);
    }

    #[test]
    fn a_refund_restores_what_was_taken_and_never_exceeds_full(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
        cost in 1..=5_u64,
        more in given::costs(),
    ) {
        // A refund counts at full scale; and a clock that is set back raises a debt without a cost.
        let plain = |step: &&Step| !matches!(step, Step::Scale(_) | Step::Back(_));
        let history: Vec<Step> = history.iter().filter(plain).cloned().collect();
        let player = played(&limits, start, &history);
        let (rig, tags) = (&player.rig, player.tags());
        let before = state(&player);
        if rig.check_all(ID, &tags, cost).allowed() {
            let back = rig.refund_all(ID, &tags, cost);
            for ((_, before), (_, back)) in before.usages().iter().zip(back.usages()) {
                prop_assert_eq!(back.remaining, before.remaining);
            }
        }
        let Cost::Units(more) = more else { return Ok(()) };
        for (_, usage) in rig.refund_all(ID, &tags, more).usages() {
            prop_assert!(usage.remaining <= usage.max);
        }
        for (_, usage) in rig.refund_all(ID, &tags, u64::MAX).usages() {
            prop_assert_eq!((usage.remaining, usage.reset_after.0), (usage.max, 0));
        }
    }

    #[test]
    fn changes_of_scale_add_no_room(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
        scales in proptest::collection::vec(given::scales(), 1..4),
    ) {
        let player = played(&limits, start, &history);
        player.rig.scale(ONE);
        let before = state(&player);
        for scale in scales {
            player.rig.scale(scale);
            let scaled = state(&player);
            for ((_, before), (_, scaled)) in before.usages().iter().zip(scaled.usages()) {
                prop_assert_eq!(scaled.reset_after, before.reset_after);
                prop_assert!(scale > ONE || scaled.max <= before.max);
                prop_assert!(scale > ONE || scaled.remaining <= before.remaining);
            }
        }
        player.rig.scale(ONE);
        prop_assert_eq!(state(&player), before);
    }

    #[test]
    fn a_change_of_limit_keeps_what_was_used(
        limit in given::limits(),
        start in given::starts(),
        history in given::histories(),
        change in given::changes(),
    ) {
        let mut player = played(std::slice::from_ref(&limit), start, &history);
        player.rig.scale(ONE);
        let old = player.limits[0].1.per();
        let before = state(&player).binding().1;
        prop_assume!(player.step(&Step::Update(0, change)).is_some());
        let after = state(&player).binding().1;
        let new = &player.limits[0].1;
        let used = (before.max - before.remaining).min(after.max);
        let is_bucket = matches!(new.algorithm(), Algorithm::TokenBucket { .. });
        // Some of it may lie outside of a shorter window; and of a debt above the maximum only the maximum is visible.
        if new.per() >= old || is_bucket {
            prop_assert!(after.max - after.remaining >= used);
        }
        if before.remaining > 0 {
            prop_assert!(after.max - after.remaining <= used);
        }
    }

    #[test]
    fn setting_the_clock_back_adds_no_room(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
        back in given::spans(),
    ) {
        let mut player = played(&limits, start, &history);
        let (now, before) = (player.rig.now(), state(&player));
        player.step(&Step::Back(back));
        let earlier = state(&player);
        for ((_, before), (_, earlier)) in before.usages().iter().zip(earlier.usages()) {
            prop_assert!(earlier.remaining <= before.remaining);
        }
        player.rig.at(now);
        prop_assert_eq!(state(&player), before);
    }
}
