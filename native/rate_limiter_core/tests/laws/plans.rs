//! A call under a plan is answered as after an update of the limits to those of the plan, and plans touch no state.

use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use rate_limiter_core::{Algorithm, CallError, Change, Limit, LimitError, Retry, UpdateError};

use crate::given::{self, Step};
use crate::model::Call;
use crate::player::Player;
use crate::rig::{Rig, ONLY};

const MINUTE: Duration = Duration::from_mins(1);
const PRO: u64 = 1;

fn windows() -> impl Strategy<Value = Vec<Limit>> {
    collection::vec(given::limits(), 1..=3)
}

/// Three plans of limiters with up to three windows, each with a change for some of them.
fn plans() -> impl Strategy<Value = Vec<Vec<Option<given::Change>>>> {
    collection::vec(
        collection::vec(proptest::option::of(given::changes()), 3),
        3,
    )
}

/// The limits of a plan, as far as they can be kept. Only a bucket has a period of its own.
fn planned(limits: &[(u64, Limit)], plan: &[Option<given::Change>]) -> Vec<(u64, Limit)> {
    let limit = |((tag, limit), change): (&(u64, Limit), &Option<given::Change>)| {
        let change = change.as_ref();
        let changed = change.map_or(limit.clone(), |change| change.of(limit));
        let changed = match limit.algorithm() {
            Algorithm::TokenBucket { .. } => changed,
            other => Limit::new(changed.limit(), limit.per(), other),
        };
        let kept = changed.validate().is_ok();
        (*tag, if kept { changed } else { limit.clone() })
    };
    limits.iter().zip(plan).map(limit).collect()
}

/// The plans after an update of the limiter. All of them state the amounts of all windows, and the rates of buckets.
fn follow(plans: &mut [Vec<(u64, Limit)>], tag: u64, limit: &Limit) {
    let windows = plans.iter_mut().flatten();
    for (_, planned) in windows.filter(|(other, _)| *other == tag) {
        if !matches!(limit.algorithm(), Algorithm::TokenBucket { .. }) {
            *planned = Limit::new(planned.limit(), limit.per(), limit.algorithm());
        }
    }
}

fn changes(limits: &[(u64, Limit)]) -> Vec<Change> {
    let change = |(tag, limit): &(u64, Limit)| Change::to(*tag, limit);
    limits.iter().map(change).collect()
}

fn only(limit: u64, burst: Option<u64>) -> Vec<Change> {
    let (tag, limit, per) = (ONLY, Some(limit), None);
    vec![Change {
        tag,
        limit,
        per,
        burst,
        is_enforced: None,
    }]
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn a_call_under_a_plan_is_answered_as_after_an_update(
        limits in windows(),
        plans in plans(),
        start in given::starts(),
        history in collection::vec((0..4_usize, any::<bool>(), given::steps(3)), 1..80),
    ) {
        let mut player = Player::new(&limits, start);
        let updated = Player::new(&limits, start);
        let mut all = vec![player.limits.clone()];
        all.extend(plans.iter().map(|plan| planned(&player.limits, plan)));
        for (name, limits) in (0..).zip(&all) {
            player.rig.put_plan(name, &changes(limits)).expect("limits that are kept");
        }
        for (name, has_name, step) in &history {
            let Some(call) = player.call(step) else { continue };
            updated.rig.at(player.rig.now());
            if let Call::Update(tag, limit) = &call {
                player.rig.call(&call);
                updated.rig.call(&call);
                follow(&mut all, *tag, limit);
                continue;
            }
            let limits = &all[*name];
            for (tag, limit) in limits {
                updated.rig.update(*tag, limit).expect("a limit that is kept");
            }
            let usages = if *has_name {
                player.rig.call_under(&call, *name as u64)
            } else {
                player.rig.call_made(&call, &changes(limits))
            };
            prop_assert_eq!(&usages, &updated.rig.call(&call), "{:?}", call);
            player.note(&usages);
        }
    }

    #[test]
    fn plans_come_and_go_without_a_trace_in_other_calls(
        limits in windows(),
        plans in plans(),
        start in given::starts(),
        history in given::histories(),
    ) {
        let mut player = Player::new(&limits, start);
        let alone = Player::new(&limits, start);
        for (at, step) in history.iter().enumerate() {
            let plan = planned(&player.limits, &plans[at % plans.len()]);
            player.rig.put_plan(at as u64 % 5, &changes(&plan)).expect("limits that are kept");
            player.rig.remove_plan(at as u64 % 7);
            if matches!(step, Step::Update(..)) {
                continue;
            }
            let Some((call, usages)) = player.step(step) else { continue };
            alone.rig.at(player.rig.now());
            prop_assert_eq!(alone.rig.call(&call), usages);
        }
    }
}

#[test]
fn what_a_plan_does_not_change_follows_the_limiter() {
    let rig = Rig::of(Limit::token_bucket(10, MINUTE));
    let per = Some(Duration::from_secs(1));
    let (tag, limit, burst) = (ONLY, None, None);
    let faster = [Change {
        tag,
        limit,
        per,
        burst,
        is_enforced: None,
    }];
    rig.put_plan(PRO, &faster).expect("a limit that is kept");
    let max = || rig.call_under(&Call::Peek(1, vec![ONLY], 1), PRO)[0].1.max;
    assert_eq!(max(), 10);
    let update = rig.update(ONLY, &Limit::token_bucket(20, MINUTE));
    update.expect("a limit that is kept");
    assert_eq!(max(), 20);
    rig.put_plan(PRO, &only(30, Some(5)))
        .expect("a limit that is kept");
    assert_eq!(max(), 5);
}

#[test]
fn a_call_names_a_plan_that_exists() {
    let rig = Rig::of(Limit::sliding_log(10, MINUTE));
    let check = |name| rig.try_under(1, name);
    assert_eq!(check(PRO), Err(CallError::UnknownPlan));
    rig.put_plan(PRO, &only(3, None))
        .expect("a limit that is kept");
    assert_eq!(check(PRO), Ok(2));
    assert!(rig.remove_plan(PRO));
    assert!(!rig.remove_plan(PRO));
    assert_eq!(check(PRO), Err(CallError::UnknownPlan));
    assert_eq!(rig.check(1, 1).remaining, 8);
}

#[test]
fn a_plan_that_cannot_be_kept_is_refused_with_those_beside_it() {
    let rig = Rig::of(Limit::sliding_log(10, MINUTE));
    let error = rig.put_plan(PRO, &only(20_000, None));
    assert!(matches!(
        error,
        Err(UpdateError::Limit(LimitError::LimitTooHigh { .. }))
    ));
    let other = Change {
        tag: 7,
        ..only(1, None)[0]
    };
    let error = rig.put_plan(PRO, &[other]);
    assert_eq!(error, Err(UpdateError::Call(CallError::UnknownWindow)));
    assert_eq!(rig.try_under(1, PRO), Err(CallError::UnknownPlan));
    // One that an update leaves impossible stays as it is.
    let rig = Rig::of(Limit::token_bucket(1, MINUTE));
    rig.put_plan(PRO, &only(1, Some(1_000)))
        .expect("a limit that is kept");
    let long = Limit::token_bucket(1, Duration::from_hours(24 * 365 * 8));
    rig.update(ONLY, &long).expect("a limit that is kept");
    assert_eq!(rig.try_under(1, PRO), Ok(999));
}

#[test]
fn only_a_bucket_has_a_period_of_its_own_in_a_plan() {
    let tag = ONLY;
    let hourly = |per| Change {
        tag,
        limit: Some(100),
        per,
        burst: None,
        is_enforced: None,
    };
    for limit in [
        Limit::fixed_window(10, MINUTE),
        Limit::sliding_window(10, MINUTE),
        Limit::sliding_log(10, MINUTE),
    ] {
        let rig = Rig::of(limit);
        let refused = Err(UpdateError::Limit(LimitError::PeriodOfPlan));
        for per in [MINUTE, Duration::from_hours(1)] {
            assert_eq!(rig.put_plan(PRO, &[hourly(Some(per))]), refused);
        }
        assert_eq!(rig.put_plan(PRO, &[hourly(None)]), Ok(()));
    }
    let rig = Rig::of(Limit::token_bucket(10, MINUTE));
    let per = Some(Duration::from_hours(1));
    assert_eq!(rig.put_plan(PRO, &[hourly(per)]), Ok(()));
}

#[test]
fn the_period_of_a_window_follows_the_limiter_under_a_plan() {
    let rig = Rig::of(Limit::fixed_window(10, MINUTE));
    let same = Change::to(ONLY, &Limit::fixed_window(100, MINUTE));
    rig.put_plan(PRO, &[same]).expect("a limit that is kept");
    let hour = Duration::from_hours(1);
    rig.update(ONLY, &Limit::fixed_window(10, hour))
        .expect("a limit that is kept");
    let usage = rig.call_under(&Call::Check(1, vec![ONLY], 1), PRO)[0].1;
    assert_eq!(usage.remaining, 99);
    assert!(usage.reset_after > MINUTE.into());
}

#[test]
fn what_counted_under_a_plan_counts_again_when_the_period_returns() {
    let hour = Duration::from_hours(1);
    for of in [
        Limit::fixed_window,
        Limit::sliding_window,
        Limit::sliding_log,
    ] {
        let rig = Rig::of(of(10, hour));
        rig.at(1_000_000 * 3_600_000_000_000);
        rig.put_plan(PRO, &only(100, None))
            .expect("a limit that is kept");
        let check = |cost| rig.call_under(&Call::Check(1, vec![ONLY], cost), PRO)[0].1;
        assert_eq!(check(60).remaining, 40);
        rig.update(ONLY, &of(10, Duration::from_secs(1)))
            .expect("a limit that is kept");
        // The next call converts the state.
        assert_eq!(check(0).remaining, 40);
        rig.advance(10_000_000_000);
        assert_eq!(check(0).remaining, 100);
        rig.update(ONLY, &of(10, hour))
            .expect("a limit that is kept");
        assert_eq!(check(0).remaining, 40);
        assert_eq!(rig.check(1, 0).remaining, 0);
    }
}

#[test]
fn a_call_is_given_back_under_the_rate_at_which_it_was_charged() {
    let rig = Rig::of(Limit::token_bucket(10, MINUTE));
    rig.put_plan(PRO, &only(100, Some(100)))
        .expect("a limit that is kept");
    let charge = |cost| (rig.charge_all(1, &[ONLY], cost).1, cost);
    let back = |(receipt, cost)| {
        let answer = rig.give_back(1, &[ONLY], (receipt, cost), cost);
        answer.expect("a state of its own").binding().1.remaining
    };
    let first = charge(4);
    assert_eq!(back(first), 10);
    // Converted to the plan, the debt drains faster, so it is unknown what still counts of the call.
    let second = charge(4);
    assert_eq!(
        rig.call_under(&Call::Check(1, vec![ONLY], 1), PRO)[0]
            .1
            .remaining,
        95
    );
    assert_eq!(back(second), 5);
    let third = charge(2);
    assert_eq!(back(third), 5);
}

#[test]
fn a_downgrade_waits_as_long_as_the_smaller_plan_takes() {
    let rig = Rig::of(Limit::token_bucket(10, Duration::from_secs(10)));
    rig.put_plan(PRO, &only(100, None))
        .expect("a limit that is kept");
    let used = rig.call_under(&Call::Check(1, vec![ONLY], 15), PRO)[0].1;
    assert_eq!(used.remaining, 85);
    // Fifteen tokens at one a second, of which ten fit: the sixteenth fits after six seconds.
    let denied = rig.check(1, 1);
    assert_eq!(denied.remaining, 0);
    assert_eq!(denied.retry, Retry::After(Duration::from_secs(6).into()));
}
