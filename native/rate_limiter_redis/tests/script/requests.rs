//! Calls with request ids, beside the limiter in memory.

use std::cell::RefCell;

use proptest::collection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rate_limiter_core::{Nanos, Select, Tag, Usage};
use rate_limiter_distributed::{Call, Op, RequestId};

use crate::fixture::{allowed, limits, remaining, tags, SECOND, START};
use crate::redis_limiter::RedisLimiter;
use crate::rig::Rig;

const KEEP: u64 = 3_600 * SECOND;

#[derive(Clone, Debug)]
enum Step {
    Check(u64, Option<u64>, Vec<Tag>, u64),
    Refund(u64, Vec<Tag>, u64),
    Reset(u64, Vec<Tag>),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let ids = 1..3_u64;
    let windows = collection::btree_set(0..5_u64, 1..3)
        .prop_map(|tags| tags.into_iter().collect::<Vec<Tag>>());
    let costs = prop_oneof![6 => 0..4_u64, 1 => 8..13_u64];
    let requests = proptest::option::of(0..3_u64);
    prop_oneof![
        8 => (ids.clone(), requests, windows.clone(), costs.clone())
            .prop_map(|(id, request, tags, cost)| Step::Check(id, request, tags, cost)),
        1 => (ids.clone(), windows.clone(), costs)
            .prop_map(|(id, tags, cost)| Step::Refund(id, tags, cost)),
        1 => (ids, windows).prop_map(|(id, tags)| Step::Reset(id, tags)),
        2 => (1..9_000_u64).prop_map(|millis| Step::Wait(millis * 1_000_000)),
    ]
}

fn named(limiter: &RedisLimiter, id: u64, request: u64, tags: &[Tag], cost: u64) -> Call {
    let mut call = limiter.build(Op::Take, &id.to_string(), tags, cost);
    call.request_id = Some(RequestId {
        id: request.to_string().as_bytes().into(),
        keep: Nanos(KEEP),
    });
    call
}

#[test]
fn redis_knows_a_repeated_call_as_the_limiter_in_memory_does() {
    let limiter = RefCell::new(RedisLimiter::new(&limits()));
    let config = Config::with_cases(200);
    let histories = collection::vec(steps(), 1..40);
    let run = |history: Vec<Step>| {
        let mut limiter = limiter.borrow_mut();
        limiter.run::<()>(&["FLUSHALL"]);
        let memory = Rig::new(&limits());
        let mut now = START;
        for step in history {
            memory.at(now);
            let (call, expected): (Call, Option<Vec<(Tag, Usage)>>) = match step {
                Step::Check(id, Some(request), tags, cost) => (
                    named(&limiter, id, request, &tags, cost),
                    Some(
                        memory
                            .check_once_of(id, Select::Tags(&tags), request, KEEP, cost)
                            .usages()
                            .to_vec(),
                    ),
                ),
                Step::Check(id, None, tags, cost) => (
                    limiter.build(Op::Take, &id.to_string(), &tags, cost),
                    Some(memory.check_all(id, &tags, cost).usages().to_vec()),
                ),
                Step::Refund(id, tags, cost) => (
                    limiter.build(Op::Refund, &id.to_string(), &tags, cost),
                    Some(memory.refund_all(id, &tags, cost).usages().to_vec()),
                ),
                Step::Reset(id, tags) => {
                    memory.reset(id, &tags);
                    (limiter.build(Op::Reset, &id.to_string(), &tags, 0), None)
                }
                Step::Wait(nanos) => {
                    now += nanos;
                    continue;
                }
            };
            let reply = limiter.send_one(now, &call);
            if let Some(expected) = expected {
                let usages: Vec<Usage> = reply.windows.iter().map(|row| row.usage).collect();
                let expected: Vec<Usage> = expected.into_iter().map(|(_, usage)| usage).collect();
                prop_assert_eq!(usages, expected);
            }
        }
        Ok(())
    };
    TestRunner::new(config)
        .run(&histories, run)
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_cost_above_the_maximum_is_denied_whatever_the_request_id() {
    let mut limiter = RedisLimiter::new(&limits());
    let limit = limits();
    let call = named(&limiter, 1, 1, &tags(), 8);
    assert!(allowed(&limiter.send_one(START, &call)));
    for (tag, limit) in &limit {
        let less = rate_limiter_core::Limit::new(7, limit.per(), limit.algorithm());
        limiter.update(*tag, &less);
        let call = named(&limiter, 1, 1, &tags(), 8);
        assert!(!allowed(&limiter.send_one(START, &call)), "{tag}");
        limiter.update(*tag, limit);
    }
    let call = named(&limiter, 1, 1, &tags(), 8);
    assert_eq!(remaining(&limiter.send_one(START, &call)), [2; 5]);
}

#[test]
fn a_reset_ends_request_ids_in_the_same_moment() {
    let mut limiter = RedisLimiter::new(&limits());
    let call = named(&limiter, 1, 1, &tags(), 4);
    let reset = limiter.build(Op::Reset, "1", &tags(), 0);
    let calls = [
        &call, &call, &reset, &call, &call, &reset, &reset, &call, &call,
    ];
    for answer in limiter.send(&calls, Some(START)) {
        let left = remaining(&answer.expect("an answer"));
        assert!(left == [6; 5] || left == [10; 5], "{left:?}");
    }
    assert_eq!(remaining(&limiter.send_one(START, &call)), [6; 5]);
}
