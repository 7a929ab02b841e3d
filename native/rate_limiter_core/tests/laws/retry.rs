//! The prediction of an answer is exact: a call succeeds at `retry` and not before, and what is left can be
//! taken, but no more. After any history, without other callers.

use proptest::prelude::*;
use rate_limiter_core::{Limit, ManualClock, Retry};

use crate::given::{self, Cost, Step};
use crate::player::Player;

const ID: u64 = 0;

/// A limiter after a history.
fn played(limits: &[Limit], start: u64, history: &[Step]) -> Player {
    let mut player = Player::new(limits, start);
    for step in history {
        player.step(step);
    }
    player
}

fn windows() -> impl Strategy<Value = Vec<Limit>> {
    prop_oneof![
        3 => given::limits().prop_map(|limit| vec![limit]),
        1 => proptest::collection::vec(given::limits(), 2..=3),
    ]
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn a_denied_call_succeeds_at_retry_and_not_a_nanosecond_before(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
        cost in given::costs(),
    ) {
        let player = played(&limits, start, &history);
        let (rig, tags) = (&player.rig, player.tags());
        let cost = cost.units(&rig.peek_all(ID, &tags, 0).binding().1);
        let answer = rig.check_all(ID, &tags, cost);
        let now = rig.now();
        for (tag, usage) in answer.usages() {
            match usage.retry {
                Retry::Now | Retry::Unenforced(_) => (),
                Retry::Never => prop_assert!(cost > usage.max),
                Retry::After(wait) => {
                    prop_assert!(cost <= usage.max);
                    let then = now.saturating_add(wait.0);
                    prop_assume!(then <= ManualClock::END.0);
                    prop_assert!(wait.0 > 0);
                    rig.at(then - 1);
                    prop_assert!(!rig.peek_one(ID, *tag, cost).allowed());
                    rig.at(then);
                    prop_assert!(rig.peek_one(ID, *tag, cost).allowed());
                }
            }
        }
        // The longest wait is the wait of the call.
        if let Retry::After(wait) = answer.binding().1.retry {
            rig.at(now + wait.0 - 1);
            prop_assert!(!rig.check_all(ID, &tags, cost).allowed());
            rig.at(now + wait.0);
            prop_assert!(rig.check_all(ID, &tags, cost).allowed());
        }
    }

    #[test]
    fn what_is_left_can_be_taken_and_no_more(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
    ) {
        let player = played(&limits, start, &history);
        let (rig, tags) = (&player.rig, player.tags());
        for tag in tags {
            let left = rig.peek_one(ID, tag, 0);
            prop_assert!(left.allowed());
            prop_assert!(left.remaining <= left.max);
            if let Some(more) = left.remaining.checked_add(1) {
                prop_assert!(!rig.peek_one(ID, tag, more).allowed());
            }
            let taken = rig.check_one(ID, tag, left.remaining);
            prop_assert!(taken.allowed());
            prop_assert_eq!(taken.remaining, 0);
        }
    }

    #[test]
    fn one_more_unit_is_left_exactly_at_next_and_not_a_nanosecond_before(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
        cost in given::costs(),
    ) {
        let player = played(&limits, start, &history);
        let (rig, tags) = (&player.rig, player.tags());
        let cost = cost.units(&rig.peek_all(ID, &tags, 0).binding().1);
        let now = rig.now();
        for (tag, usage) in rig.check_all(ID, &tags, cost).usages() {
            prop_assert_eq!(usage.next_after.0 == 0, usage.remaining == usage.max);
            prop_assert!(usage.next_after <= usage.reset_after);
            let then = now.saturating_add(usage.next_after.0);
            prop_assume!(then <= ManualClock::END.0);
            let left_at = |at| rig.at(at).peek_one(ID, *tag, 0).remaining;
            if usage.next_after.0 > 0 {
                prop_assert_eq!(left_at(then - 1), usage.remaining);
                prop_assert!(left_at(then) > usage.remaining);
            }
        }
    }

    #[test]
    fn nothing_is_used_any_more_exactly_at_reset(
        limits in windows(),
        start in given::starts(),
        history in given::histories(),
        cost in given::costs(),
    ) {
        let player = played(&limits, start, &history);
        let (rig, tags) = (&player.rig, player.tags());
        let Cost::Units(cost) = cost else { return Ok(()) };
        rig.check_all(ID, &tags, cost);
        let now = rig.now();
        for tag in tags {
            let usage = rig.at(now).peek_one(ID, tag, 0);
            let then = now.saturating_add(usage.reset_after.0);
            prop_assume!(then <= ManualClock::END.0);
            let full = rig.at(then).peek_one(ID, tag, 0);
            prop_assert_eq!((full.reset_after.0, full.remaining), (0, full.max));
            if usage.reset_after.0 > 0 {
                let before = rig.at(then - 1).peek_one(ID, tag, 0);
                prop_assert_eq!(before.reset_after.0, 1);
            }
        }
    }
}
