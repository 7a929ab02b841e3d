//! What a limiter counts: its calls by window and result, and the keys that pass the threshold.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rate_limiter_core::{Answer, Decisions, Limit};

use crate::given;
use crate::model::Call;
use crate::player::Player;
use crate::rig::{Rig, ONLY};

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn each_check_counts_once_under_its_binding_window(
        limits in proptest::collection::vec(given::limits_and_shadows(), 1..=3),
        start in given::starts(),
        history in given::shadowed_histories(),
    ) {
        let mut player = Player::new(&limits, start);
        let mut expected: Vec<_> = player.tags().iter().map(|&tag| (tag, 0, 0, 0)).collect();
        for step in &history {
            if let Some((Call::Check(..), usages)) = player.step(step) {
                for (tag, _) in usages.iter().filter(|(_, usage)| usage.would_deny()) {
                    let window = expected.iter_mut().find(|(known, ..)| known == tag);
                    window.expect("a window of the limiter").3 += 1;
                }
                let answer = Answer::new(usages);
                let window = expected.iter_mut().find(|(tag, ..)| *tag == answer.binding().0);
                let (_, allowed, denied, _) = window.expect("a window of the limiter");
                *allowed += u64::from(answer.allowed());
                *denied += u64::from(!answer.allowed());
            }
        }
        let stats = player.rig.stats();
        let counted: Vec<_> = stats
            .windows
            .iter()
            .map(|window| {
                let Decisions { allowed, denied } = window.decisions;
                (window.tag, allowed, denied, window.would_deny)
            })
            .collect();
        prop_assert_eq!(counted, expected);
    }

    #[test]
    fn a_key_passes_the_threshold_once_a_period(
        limit in given::limits(),
        start in 0..1_u64 << 60,
        share in 1..=1_000_000_u32,
        calls in proptest::collection::vec((0..2_u64, 0..=8_u64, 0..=400_u64), 1..80),
    ) {
        let period = u64::try_from(limit.per().as_nanos()).expect("a short period");
        let rig = Rig::of(limit);
        rig.at(start);
        let mut passed: HashMap<u64, u64> = HashMap::new();
        let mut total = 0;
        for (id, cost, thousandths) in calls {
            let before = rig.peek(id, 0);
            let usage = rig.check(id, cost);
            let least = (u128::from(usage.max) * u128::from(share)).div_ceil(1_000_000);
            let used = |usage: &rate_limiter_core::Usage| u128::from(usage.max - usage.remaining);
            let crosses = usage.allowed() && used(&before) < least && used(&usage) >= least;
            let is_first = passed.get(&id).is_none_or(|at| rig.now() - at >= period);
            let passes = crosses && is_first;
            prop_assert_eq!(rig.passes(id, &usage, cost, share), passes);
            if passes {
                passed.insert(id, rig.now());
                total += 1;
            }
            rig.advance(u64::try_from(u128::from(period) * u128::from(thousandths) / 1_000).expect("short"));
        }
        prop_assert_eq!(rig.stats().windows[0].passed, total);
    }
}

/// A flood of new keys passes at once where one call uses the limit. It must not become a flood of events.
#[test]
fn no_key_passes_without_room_to_remember_it() {
    let rig = Rig::capped(
        &[(ONLY, Limit::token_bucket(1, Duration::from_hours(1)))],
        2,
    );
    let passes = |id| {
        let usage = rig.check(id, 1);
        rig.passes(id, &usage, 1, 800_000)
    };
    assert!(passes(1));
    assert_eq!((2..100).filter(|id| passes(*id)).count(), 0);
    assert_eq!(rig.stats().windows[0].passed, 1);
}

#[test]
fn each_repetition_of_a_call_counts() {
    let rig = Rig::of(Limit::token_bucket(10, Duration::from_mins(1)));
    for _ in 0..3 {
        rig.check_once(1, 7, 5_000_000_000, 4);
    }
    rig.check(1, 7);
    let decisions = Decisions {
        allowed: 3,
        denied: 1,
    };
    assert_eq!(rig.stats().decisions(), decisions);
}
