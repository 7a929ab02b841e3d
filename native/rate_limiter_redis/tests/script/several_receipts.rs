//! Refunds with receipts, of keys that nodes judge by several limits: as if each limit had a key of its own.

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rate_limiter_core::{Algorithm, Limit, Nanos, Tag};
use rate_limiter_distributed::{Call, Op, Receipt};

use crate::fixture::{limits as fixture_limits, SECOND, START};
use crate::redis_limiter::RedisLimiter;

const TAG: Tag = 0;
const BOTH: &str = "both";
const ALONE: [&str; 2] = ["first", "second"];

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// By one of the limits.
    Take(usize, u64),
    /// Of one of the calls so far, by one of the limits.
    GiveBack(usize, prop::sample::Index, u64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..6_000_u64).prop_map(Step::Wait),
        3 => (0..2_usize, 1..5_u64).prop_map(|(limit, cost)| Step::Take(limit, cost)),
        2 => (0..2_usize, any::<prop::sample::Index>(), 0..6_u64)
            .prop_map(|(limit, which, cost)| Step::GiveBack(limit, which, cost)),
    ]
}

/// Two limits that admit all calls of a history. The first counts all of them, so the key never forgets the limits.
fn limits(algorithm: Algorithm) -> [Limit; 2] {
    [3_600, 4].map(|seconds| match algorithm {
        // It drains slowly, so that a history sees it.
        Algorithm::TokenBucket { .. } => {
            Limit::token_bucket(1, Duration::from_secs(seconds / 4)).with_burst(900)
        }
        other => Limit::new(900, Duration::from_secs(seconds), other),
    })
}

/// Sends the call about the key of both limits, by one of them, and about each key of its own, by its own.
fn send(
    limiter: &mut RedisLimiter,
    limits: &[Limit; 2],
    by: usize,
    now: u64,
    call: impl Fn(&RedisLimiter, &str) -> Call,
) {
    for (id, limit) in [
        (BOTH, &limits[by]),
        (ALONE[0], &limits[0]),
        (ALONE[1], &limits[1]),
    ] {
        limiter.update(TAG, limit);
        let call = call(limiter, id);
        limiter.send_one(now, &call);
    }
}

fn remaining(limiter: &mut RedisLimiter, limit: &Limit, id: &str, now: u64) -> u64 {
    limiter.update(TAG, limit);
    let peek = limiter.build(Op::Peek, id, &[TAG], 0);
    limiter.send_one(now, &peek).windows[0].usage.remaining
}

fn history(
    limiter: &mut RedisLimiter,
    algorithm: Algorithm,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    limiter.run::<()>(&["FLUSHALL"]);
    let limits = limits(algorithm);
    let (mut now, mut receipts) = (START, Vec::new());
    // At once, so that each limit counts the first call as the other does; and then each is known with its amount.
    let first = [Step::Take(0, 3), Step::Take(1, 2), Step::Take(0, 1)];
    for step in first.iter().chain(steps) {
        match *step {
            Step::Wait(millis) => now += millis * 1_000_000,
            Step::Take(by, cost) => {
                send(limiter, &limits, by, now, |limiter, id| {
                    limiter.build(Op::Take, id, &[TAG], cost)
                });
                receipts.push(Receipt {
                    at: Nanos(now),
                    serial: receipts.len() as u64 + 1,
                    charged: cost,
                });
            }
            Step::GiveBack(by, which, cost) => {
                // The first call stays used.
                let receipt = receipts[1 + which.index(receipts.len() - 1)];
                send(limiter, &limits, by, now, |limiter, id| Call {
                    receipt: Some(receipt),
                    ..limiter.build(Op::Refund, id, &[TAG], cost)
                });
            }
        }
        if receipts.len() < first.len() {
            continue;
        }
        for (limit, alone) in limits.iter().zip(ALONE) {
            let [both, alone] = [BOTH, alone].map(|id| remaining(limiter, limit, id, now));
            prop_assert_eq!(both, alone, "{:?} after {:?}", limit, step);
        }
    }
    Ok(())
}

#[test]
fn what_is_given_back_of_a_call_is_given_back_to_each_limit() {
    let limiter = RefCell::new(RedisLimiter::new(&[(TAG, fixture_limits()[0].1.clone())]));
    let config = ProptestConfig {
        failure_persistence: None,
        cases: 60,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config);
    let law = |steps: Vec<Step>| {
        for (_, limit) in fixture_limits() {
            history(&mut limiter.borrow_mut(), limit.algorithm(), &steps)?;
        }
        Ok(())
    };
    if let Err(failure) = runner.run(&vec(steps(), 1..25), law) {
        panic!("{failure}\n{runner}");
    }
}

#[test]
fn a_call_is_given_back_to_the_limit_that_still_counts_it_alone() {
    let (long, short) = (Duration::from_hours(4), Duration::from_secs(10));
    for (_, limit) in fixture_limits().drain(1..3) {
        let [long, short] = [long, short].map(|per| Limit::new(100, per, limit.algorithm()));
        let mut limiter = RedisLimiter::new(&[(TAG, long.clone())]);
        let start = START / (14_400 * SECOND) * 14_400 * SECOND;
        let take = |limiter: &mut RedisLimiter, limit: &Limit, now, cost| {
            limiter.update(TAG, limit);
            let call = limiter.build(Op::Take, "ann", &[TAG], cost);
            limiter.send_one(now, &call);
        };
        take(&mut limiter, &long, start, 7);
        let later = start + 1_800 * SECOND;
        take(&mut limiter, &short, later, 1);
        let mut back = limiter.build(Op::Refund, "ann", &[TAG], 7);
        back.receipt = Some(Receipt {
            at: Nanos(start),
            serial: 1,
            charged: 7,
        });
        limiter.send_one(later, &back);
        assert_eq!(
            remaining(&mut limiter, &short, "ann", later),
            99,
            "{limit:?}"
        );
        assert_eq!(
            remaining(&mut limiter, &long, "ann", later),
            99,
            "{limit:?}"
        );
    }
}
