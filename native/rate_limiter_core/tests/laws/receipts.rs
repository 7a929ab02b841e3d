//! A receipt gives back what still counts of its own call, once.

use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use rate_limiter_core::{Algorithm, CallError, Limit, Receipt, Retry, Snapshot};

use crate::given;
use crate::rig::{Rig, ONLY};

const SECOND: u64 = 1_000_000_000;
const PER: u64 = 10 * SECOND;
const LIMIT: u64 = 20;
/// The time between two tokens of a bucket.
const INTERVAL: u64 = PER / LIMIT;
const WIDTH: u64 = PER / 10;

#[derive(Clone, Debug)]
enum Step {
    Charge(u64),
    /// Gives back a cost of one of the calls so far.
    GiveBack(prop::sample::Index, u64),
    Refund(u64),
    Reset,
    Update,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..=8_u64).prop_map(Step::Charge),
        8 => (any::<prop::sample::Index>(), 0..=8_u64)
            .prop_map(|(which, cost)| Step::GiveBack(which, cost)),
        1 => (1..=4_u64).prop_map(Step::Refund),
        1 => Just(Step::Reset),
        1 => Just(Step::Update),
        8 => prop_oneof![0..SECOND, 0..12 * SECOND, Just(SECOND)].prop_map(Step::Wait),
    ]
}

fn limits() -> [Limit; 5] {
    let per = Duration::from_nanos(PER);
    [
        Limit::token_bucket(LIMIT, per),
        Limit::sliding_window(LIMIT, per),
        Limit::sliding_log(LIMIT, per),
        Limit::fixed_window(LIMIT, per),
        Limit::fixed_window(LIMIT, per).from_first_use(),
    ]
}

struct Charged {
    at: u64,
    cost: u64,
    receipt: Receipt,
    /// What was asked for, and what was given back, in units, or a bucket's in nanoseconds.
    asked: u64,
    net: u64,
    is_over: bool,
}

/// What is used of a window, in units, or a bucket's in nanoseconds.
fn used(rig: &Rig) -> u64 {
    match rig
        .snapshot(1)
        .as_ref()
        .and_then(|known| known.window(ONLY))
    {
        Some(Snapshot::Bucket { debt }) => debt.0,
        _ => LIMIT - rig.peek(1, 0).remaining,
    }
}

/// Returns whether the calls that were not given back are more than any window admits.
fn exceeds(limit: &Limit, calls: &[Charged], now: u64) -> bool {
    let sum = |from: u64| -> u64 {
        let since = calls.iter().filter(|call| call.at >= from);
        since.map(|call| call.net).sum()
    };
    match limit.algorithm() {
        Algorithm::TokenBucket { .. } => calls
            .iter()
            .any(|call| sum(call.at) > PER + (now - call.at)),
        Algorithm::FixedWindow { aligned: true } => sum(now - now % PER) > LIMIT,
        // The window is not known here: any half of a period lies in one, or in two.
        Algorithm::FixedWindow { aligned: false } => sum((now + 1).saturating_sub(PER)) > 2 * LIMIT,
        _ => sum((now + 1).saturating_sub(PER)) > LIMIT,
    }
}

/// Returns whether a call still counts.
fn counts(limit: &Limit, at: u64, now: u64) -> bool {
    match limit.algorithm() {
        Algorithm::SlidingWindow { .. } => now / WIDTH - at / WIDTH <= 10,
        Algorithm::FixedWindow { aligned: true } => now / PER == at / PER,
        _ => now < at + PER,
    }
}

proptest! {
    #![proptest_config(given::config())]

    #[test]
    fn no_window_admits_more_than_its_limit_of_what_was_not_given_back(
        which in 0..5_usize,
        start in 0..1_u64 << 60,
        history in collection::vec(steps(), 1..80),
    ) {
        let limit = limits()[which].clone();
        let is_bucket = matches!(limit.algorithm(), Algorithm::TokenBucket { .. });
        let unit = if is_bucket { INTERVAL } else { 1 };
        let rig = Rig::of(limit.clone());
        rig.at(start);
        let mut calls: Vec<Charged> = Vec::new();
        for step in history {
            let now = rig.now();
            match step {
                Step::Charge(cost) => {
                    let (answer, receipt) = rig.charge_all(1, &[ONLY], cost);
                    if answer.allowed() {
                        let net = cost * unit;
                        calls.push(Charged { at: now, cost, receipt, asked: 0, net, is_over: false });
                    }
                }
                Step::GiveBack(which, cost) => {
                    if calls.is_empty() {
                        continue;
                    }
                    let number = which.index(calls.len());
                    let call = &mut calls[number];
                    let before = used(&rig);
                    let answer = rig.give_back(1, &[ONLY], (call.receipt, call.cost), cost);
                    prop_assert!(answer.is_ok());
                    let given = before - used(&rig);
                    let left = call.cost - call.asked;
                    let expected = if call.is_over {
                        0
                    } else if is_bucket {
                        let counts = (left * INTERVAL).saturating_sub(now - call.at);
                        (cost.min(left) * INTERVAL).min(counts)
                    } else if counts(&limit, call.at, now) {
                        cost.min(left)
                    } else {
                        0
                    };
                    let is_loose = matches!(limit.algorithm(), Algorithm::FixedWindow { aligned: false });
                    prop_assert!(given == expected || is_loose && given <= expected, "{given} of {expected}");
                    call.asked += cost.min(left);
                    call.net -= given;
                }
                Step::Refund(cost) => {
                    rig.refund(1, cost);
                    for call in &mut calls {
                        (call.is_over, call.net) = (true, 0);
                    }
                }
                Step::Reset => {
                    rig.reset(1, &[ONLY]);
                    for call in &mut calls {
                        (call.is_over, call.net) = (true, 0);
                    }
                }
                Step::Update => {
                    rig.update(ONLY, &limit).expect("the same limit");
                    for call in &mut calls {
                        call.is_over = true;
                    }
                }
                Step::Wait(nanos) => rig.advance(nanos),
            }
            prop_assert!(!exceeds(&limit, &calls, rig.now()), "at {}", rig.now());
        }
    }
}

#[test]
fn a_receipt_of_another_limiter_or_key_gives_nothing_back() {
    for limit in limits() {
        let (rig, other) = (Rig::of(limit.clone()), Rig::of(limit));
        let (_, receipt) = rig.charge_all(1, &[ONLY], 4);
        other.check(1, 4);
        other.check(2, 4);
        rig.check(2, 4);
        let left = |rig: &Rig, id| {
            let answer = rig.give_back(id, &[ONLY], (receipt, 4), 4);
            answer.expect("room").binding().1.remaining
        };
        assert_eq!(left(&other, 1), LIMIT - 4);
        assert_eq!(left(&rig, 3), LIMIT);
        assert_eq!(left(&rig, 1), LIMIT);
        assert_eq!(left(&rig, 1), LIMIT);
    }
}

#[test]
fn receipts_outlive_the_move_of_their_key_to_another_stripe() {
    let rig = Rig::of(Limit::sliding_window(LIMIT, Duration::from_hours(1)));
    let receipts: Vec<Receipt> = (0..30_000)
        .map(|id| rig.charge_all(id, &[ONLY], 4).1)
        .collect();
    for (id, receipt) in (0..).zip(receipts) {
        let answer = rig.give_back(id, &[ONLY], (receipt, 4), 3);
        assert_eq!(answer.expect("room").binding().1.remaining, LIMIT - 1);
        // A new call of the key has another number.
        let (_, later) = rig.charge_all(id, &[ONLY], 2);
        let answer = rig.give_back(id, &[ONLY], (later, 2), 2);
        assert_eq!(answer.expect("room").binding().1.remaining, LIMIT - 1);
    }
    assert_eq!(rig.stats().decisions().allowed, 60_000);
}

#[test]
fn without_room_to_remember_it_nothing_is_given_back() {
    let rig = Rig::capped(
        &[(ONLY, Limit::fixed_window(LIMIT, Duration::from_hours(1)))],
        1,
    );
    let (_, receipt) = rig.charge_all(1, &[ONLY], 4);
    let refused = rig.give_back(1, &[ONLY], (receipt, 4), 4);
    assert_eq!(refused, Err(CallError::NoRoom));
    assert_eq!(rig.peek(1, 0).remaining, LIMIT - 4);
    // A key that is judged together with others.
    let (_, shared) = rig.charge_all(2, &[ONLY], 4);
    let refused = rig.give_back(2, &[ONLY], (shared, 4), 4);
    assert_eq!(refused, Err(CallError::NoRoom));
}

#[test]
fn what_is_given_back_ends_the_id_of_its_call_alone() {
    const KEEP: u64 = 3_600 * SECOND;
    let rig = Rig::of(Limit::sliding_log(LIMIT, Duration::from_secs(10)));
    let (_, first) = rig.charge_once(1, 1, KEEP, 4);
    let (_, second) = rig.charge_once(1, 2, KEEP, 4);
    let (again, nothing) = rig.charge_once(1, 1, KEEP, 4);
    assert_eq!(
        (again.binding().1.remaining, nothing),
        (LIMIT - 8, Receipt::default())
    );
    let unchanged = rig.give_back(1, &[ONLY], (nothing, 4), 4);
    assert_eq!(unchanged.expect("room").binding().1.remaining, LIMIT - 8);
    rig.give_back(1, &[ONLY], (first, 4), 4).expect("room");
    // For as long as the id would have been remembered.
    rig.advance(60 * SECOND);
    rig.sweep();
    assert_eq!(
        rig.charge_once(1, 2, KEEP, 4).0.binding().1.remaining,
        LIMIT
    );
    assert_eq!(
        rig.charge_once(1, 1, KEEP, 4).0.binding().1.remaining,
        LIMIT - 4
    );
    rig.give_back(1, &[ONLY], (second, 4), 4).expect("room");
    assert_eq!(rig.peek(1, 1).retry, Retry::Now);
}
