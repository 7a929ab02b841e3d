//! The lean script writes what the general one writes, and leaves to it what it cannot decide.

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rate_limiter_core::{Algorithm, Limit, Nanos, Scale, Tag};
use rate_limiter_distributed::{Call, Op, Reply};
use rate_limiter_redis::wire::{self, lean};
use redis::Value;

use crate::fixture::{limits, SECOND, START};
use crate::redis_limiter::{meter, RedisLimiter};

const CASES: u32 = 200;

/// A stored value and its time to live.
type Stored = (Option<Vec<u8>>, i64);

fn stored(limiter: &mut RedisLimiter, call: &Call) -> Stored {
    let end: &[u8] = match call.windows[0].meter.limit().algorithm() {
        Algorithm::TokenBucket { .. } => b":w0~b",
        _ => b":w0~f",
    };
    let key = [&*call.key, end].concat();
    (
        limiter.run(&[b"GET", &key[..]]),
        limiter.run(&[b"PTTL", &key[..]]),
    )
}

/// Sends calls to the lean script. Returns for each whether it is left to the general one, and the answers to the others.
fn send(limiter: &mut RedisLimiter, calls: &[&Call], now: u64) -> (Vec<bool>, Vec<Reply>) {
    let command = lean::encode(calls.iter().copied(), Some(Nanos(now)));
    let reply: Value = command.query(&mut limiter.connection).expect("a reply");
    let left: Vec<bool> = lean::left(&reply).collect();
    let decided = calls.iter().zip(&left).filter(|(_, left)| !**left);
    let replies = lean::decode(decided.map(|(call, _)| *call), &reply);
    (
        left,
        replies
            .into_iter()
            .map(|reply| reply.expect("an answer"))
            .collect(),
    )
}

fn lean_limits() -> impl Strategy<Value = Limit> {
    let amounts = prop_oneof![1..=100_u64, Just(7), Just(123_457), Just(999_999_937)];
    let periods = prop_oneof![
        Just(1_u64),
        Just(7),
        Just(1_000),
        Just(60_000),
        Just(86_400_000)
    ];
    let bursts = prop_oneof![1..=40_u64, Just(3_000), Just(1_000_000)];
    let algorithms = prop_oneof![
        bursts.prop_map(|burst| Algorithm::TokenBucket { burst: Some(burst) }),
        any::<bool>().prop_map(|aligned| Algorithm::FixedWindow { aligned }),
    ];
    let limits = (amounts, periods, algorithms).prop_map(|(limit, per_ms, algorithm)| {
        Limit::new(limit, Duration::from_millis(per_ms), algorithm)
    });
    limits.prop_filter("a limit in range", |limit| {
        rate_limiter_distributed::Meter::new("w0", limit).is_ok()
    })
}

#[derive(Clone, Debug)]
struct Step {
    /// In millionths of the time in which a full bucket drains.
    wait: u64,
    /// In thousandths of the largest cost.
    cost: u64,
    scale: u32,
}

fn steps() -> impl Strategy<Value = Step> {
    let waits = prop_oneof![Just(0), 0..400_u64, 0..400_000_u64];
    let scales = prop_oneof![4 => Just(1_000_000), 1 => 1_000..2_000_000_u32];
    (waits, 0..600_u64, scales).prop_map(|(wait, cost, scale)| Step { wait, cost, scale })
}

fn history(limiter: &mut RedisLimiter, limit: &Limit, steps: &[Step]) -> Result<(), TestCaseError> {
    limiter.run::<()>(&["FLUSHALL"]);
    limiter.open("lean", &[(0, limit.clone())]);
    let drain = limit.per().as_nanos() * u128::from(limit.capacity()) / u128::from(limit.limit());
    let drain = u64::try_from(drain).unwrap_or(u64::MAX / 1_000_000);
    let mut now = START;
    for step in steps {
        now += u64::try_from(u128::from(drain) * u128::from(step.wait) / 1_000_000).unwrap_or(0);
        let cost = (limit.capacity() * step.cost / 1_000).max(1);
        let mut calls = ["ann", "bob"].map(|id| limiter.build(Op::Take, id, &[0], cost));
        for call in &mut calls {
            call.scale = Scale::from_ppm(step.scale);
        }
        let [general, lean] = calls;
        let expected = limiter.send_one(now, &general);
        let (left, replies) = send(limiter, &[&lean], now);
        prop_assert_eq!(left, [false]);
        prop_assert_eq!(&replies[0], &expected, "{:?}", step);
        let (expected, expected_ttl) = stored(limiter, &general);
        let (value, ttl) = stored(limiter, &lean);
        prop_assert_eq!(value, expected, "{:?}", step);
        // Those of a test's clock are an hour at least, and time passes between the two.
        prop_assert!(
            (ttl - expected_ttl).abs() < 60_000,
            "{} {}",
            ttl,
            expected_ttl
        );
    }
    Ok(())
}

#[test]
fn both_scripts_answer_and_write_alike() {
    let limiter = RefCell::new(RedisLimiter::new(&[]));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |_| config.cases);
    let mut runner = TestRunner::new(ProptestConfig { cases, ..config });
    let law =
        |(limit, steps): (Limit, Vec<Step>)| history(&mut limiter.borrow_mut(), &limit, &steps);
    if let Err(failure) = runner.run(&(lean_limits(), vec(steps(), 1..20)), law) {
        panic!("{failure}\n{runner}");
    }
}

/// Something that a key may hold, and the script leaves to the other.
type Prepare = fn(&mut RedisLimiter, &[u8], &Limit);

#[test]
fn a_key_that_holds_anything_else_is_left_as_it_is_and_others_are_decided() {
    let other = |limit: &Limit| Limit::new(7, Duration::from_secs(9), limit.algorithm());
    let cases: [(&str, Prepare); 6] = [
        ("a hash", |limiter, key, _| {
            limiter.run::<()>(&[b"HSET", key, b"a", b"b"]);
        }),
        ("a word", |limiter, key, _| {
            limiter.run::<()>(&[b"SET", key, b"something else"]);
        }),
        ("no byte", |limiter, key, _| {
            limiter.run::<()>(&[b"SET", key, b""]);
        }),
        ("a state of another limit", |limiter, _, other| {
            limiter.update(0, other);
            limiter.take(START, 0, 1);
        }),
        ("states of two limits", |limiter, _, other| {
            limiter.take(START, 0, 1);
            limiter.update(0, other);
            limiter.take(START, 0, 1);
        }),
        ("a state from the future", |limiter, _, _| {
            limiter.take(START + 60 * SECOND, 0, 1);
        }),
    ];
    for (_, limit) in limits().into_iter().filter(|(_, limit)| is_lean(limit)) {
        let mut limiter = RedisLimiter::new(&[(0, limit.clone())]);
        for (name, prepare) in cases {
            limiter.run::<()>(&["FLUSHALL"]);
            limiter.update(0, &limit);
            let key = limiter.key(0);
            prepare(&mut limiter, key.as_bytes(), &other(&limit));
            limiter.update(0, &limit);
            for cost in [1, 11] {
                assert_is_left(&mut limiter, &key, cost, name);
            }
        }
    }
}

/// Sends a call about this key between two others.
fn assert_is_left(limiter: &mut RedisLimiter, key: &str, cost: u64, name: &str) {
    let before: Vec<u8> = limiter.run(&["DUMP", key]);
    let calls = [("eve", 1), ("ann", cost), ("bob", 11)]
        .map(|(id, cost)| limiter.build(Op::Take, id, &[0], cost));
    let (left, replies) = send(limiter, &calls.iter().collect::<Vec<_>>(), START);
    assert_eq!(left, [false, true, false], "{name}");
    let remaining = |at: usize| replies[at].windows[0].usage.remaining;
    assert!(
        remaining(0) < 10 && remaining(1) == 10,
        "{name}: {replies:?}"
    );
    let after: Vec<u8> = limiter.run(&["DUMP", key]);
    assert_eq!(before, after, "{name}");
}

fn is_lean(limit: &Limit) -> bool {
    matches!(
        limit.algorithm(),
        Algorithm::TokenBucket { .. } | Algorithm::FixedWindow { .. }
    )
}

#[test]
fn only_plain_calls_to_one_bucket_or_fixed_window_are_lean() {
    let limits = limits();
    let limiter = RedisLimiter::new(&limits);
    let takes = |tags: &[Tag], cost| limiter.build(Op::Take, "ann", tags, cost);
    for tag in [0, 3, 4] {
        assert!(lean::window(&takes(&[tag], 1)).is_some());
    }
    let mut charged = takes(&[0], 1);
    charged.windows[0].charge = Some(rate_limiter_distributed::Charge::default());
    let mut named = takes(&[0], 1);
    named.request_id = Some(rate_limiter_distributed::RequestId {
        id: b"payment".to_vec().into(),
        keep: Nanos(SECOND),
    });
    let mut shadow = takes(&[0], 1);
    shadow.windows[0].meter = meter(0, &limits[0].1.clone().enforced(false));
    let others = [
        shadow,
        takes(&[0], 0),
        takes(&[1], 1),
        takes(&[2], 1),
        takes(&[0, 1], 1),
        limiter.build(Op::Peek, "ann", &[0], 1),
        limiter.build(Op::Refund, "ann", &[0], 1),
        limiter.build(Op::Reset, "ann", &[0], 0),
        charged,
        named,
    ];
    assert!(others.iter().all(|call| lean::window(call).is_none()));
}

#[test]
fn an_unreadable_reply_fails_the_calls_from_there_on() {
    let limiter = RedisLimiter::new(&limits());
    let calls = ["ann", "bob"].map(|id| limiter.build(Op::Take, id, &[0], 1));
    let unused = [&[0; 7][..], &[128]].concat();
    for reply in [
        Value::Nil,
        Value::BulkString(vec![]),
        Value::BulkString(vec![1, 2, 3]),
        Value::BulkString([&unused[..], &[12, 1, 2]].concat()),
        Value::BulkString(unused),
    ] {
        let answers = lean::decode(calls.iter(), &reply);
        assert_eq!(answers.len(), 2);
        assert!(answers[1].is_err(), "{reply:?}: {answers:?}");
    }
    assert!(wire::decode(calls.iter(), &Value::BulkString(vec![0; 9]))
        .iter()
        .all(Result::is_err));
}
