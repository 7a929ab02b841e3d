//! Calls with request ids, and refunds with receipts, beside the limiter in memory.

use std::cell::RefCell;

use proptest::collection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rate_limiter_core::{self as core, Nanos, Select, Tag, Usage};
use rate_limiter_distributed::{Call, Op, Receipt, RequestId};

use crate::fixture::{allowed, limits, remaining, tags, SECOND, START};
use crate::redis_limiter::RedisLimiter;
use crate::rig::Rig;

const KEEP: u64 = 3_600 * SECOND;

#[derive(Clone, Debug)]
enum Step {
    Check(u64, Option<u64>, Vec<Tag>, u64),
    /// Gives back a cost of one of the calls so far.
    GiveBack(prop::sample::Index, u64),
    /// Of all windows.
    Refund(u64, u64),
    Reset(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let ids = 1..3_u64;
    let windows = collection::btree_set(0..5_u64, 1..3)
        .prop_map(|tags| tags.into_iter().collect::<Vec<Tag>>());
    let costs = prop_oneof![6 => 0..4_u64, 1 => 8..13_u64];
    let requests = proptest::option::of(0..3_u64);
    prop_oneof![
        8 => (ids.clone(), requests, windows, costs.clone())
            .prop_map(|(id, request, tags, cost)| Step::Check(id, request, tags, cost)),
        6 => (any::<prop::sample::Index>(), costs.clone())
            .prop_map(|(which, cost)| Step::GiveBack(which, cost)),
        1 => (ids.clone(), costs).prop_map(|(id, cost)| Step::Refund(id, cost)),
        1 => ids.prop_map(Step::Reset),
        2 => (1..9_000_u64).prop_map(|millis| Step::Wait(millis * 1_000_000)),
    ]
}

/// A call that was charged, as both know it.
struct Charged {
    id: u64,
    tags: Vec<Tag>,
    request: Option<u64>,
    here: core::Receipt,
    there: Receipt,
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
        let (mut now, mut calls) = (START, Vec::new());
        for step in history {
            memory.at(now);
            let (call, expected): (Call, Option<Vec<(Tag, Usage)>>) = match step {
                Step::Check(id, request, tags, cost) => {
                    let select = Select::Tags(&tags);
                    let (call, (answer, here)) = match request {
                        Some(request) => (
                            named(&limiter, id, request, &tags, cost),
                            memory.charge_once_of(id, select, request, KEEP, cost),
                        ),
                        None => (
                            limiter.build(Op::Take, &id.to_string(), &tags, cost),
                            memory.charge_all(id, &tags, cost),
                        ),
                    };
                    if answer.allowed() && here.serial > 0 {
                        let there = Receipt {
                            at: Nanos(now),
                            serial: calls.len() as u64 + 1,
                            charged: cost,
                        };
                        calls.push(Charged {
                            id,
                            tags,
                            request,
                            here,
                            there,
                        });
                    }
                    (call, Some(answer.usages().to_vec()))
                }
                Step::GiveBack(which, cost) => {
                    if calls.is_empty() {
                        continue;
                    }
                    let charged = &calls[which.index(calls.len())];
                    let Charged {
                        id,
                        tags,
                        request,
                        here,
                        there,
                    } = charged;
                    let mut call = limiter.build(Op::Refund, &id.to_string(), tags, cost);
                    call.receipt = Some(*there);
                    call.request_id = request.map(|request| RequestId {
                        id: request.to_string().as_bytes().into(),
                        keep: Nanos(0),
                    });
                    let answer = memory.give_back(*id, tags, (*here, there.charged), cost);
                    (call, Some(answer.expect("room").usages().to_vec()))
                }
                Step::Refund(id, cost) => {
                    let answer = memory.refund_all(id, &tags(), cost);
                    (
                        limiter.build(Op::Refund, &id.to_string(), &tags(), cost),
                        Some(answer.usages().to_vec()),
                    )
                }
                Step::Reset(id) => {
                    memory.reset(id, &tags());
                    (limiter.build(Op::Reset, &id.to_string(), &tags(), 0), None)
                }
                Step::Wait(nanos) => {
                    now += nanos;
                    continue;
                }
            };
            let reply = limiter.send_one(now, &call);
            // In Redis, a receipt of the microsecond of a reset is over.
            now += 1_000;
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
fn what_was_given_back_is_remembered_for_as_long_as_the_call_counts() {
    let mut limiter = RedisLimiter::new(&limits());
    limiter.send_one(START, &limiter.build(Op::Take, "1", &tags(), 4));
    let mut call = limiter.build(Op::Refund, "1", &tags(), 3);
    call.receipt = Some(Receipt {
        at: Nanos(START),
        serial: 7,
        charged: 4,
    });
    for left in [9, 10, 10] {
        assert_eq!(remaining(&limiter.send_one(START, &call)), [left; 5]);
    }
    let keys: Vec<String> = limiter.run(&["KEYS", "*:!~~7"]);
    let lifetime: u64 = limiter.run(&["PTTL", &keys[0]]);
    assert!(lifetime >= 11_000, "{lifetime}");
    // Of another time, in which others have used it.
    limiter.send_one(
        START + 30 * SECOND,
        &limiter.build(Op::Take, "1", &tags(), 4),
    );
    call.receipt = Some(Receipt {
        at: Nanos(START),
        serial: 8,
        charged: 4,
    });
    assert_eq!(
        remaining(&limiter.send_one(START + 30 * SECOND, &call)),
        [6; 5]
    );
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
