//! Keys whose bytes no limiter wrote, or that were changed since: only calls about them fail.

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use rate_limiter_core::{Algorithm, Limit, Nanos, Tag};
use rate_limiter_distributed::meter::put;
use rate_limiter_distributed::{Call, Charge, Failure, Op, RequestId};

use crate::fixture::{limits, tags, SECOND, START};
use crate::redis_limiter::RedisLimiter;

const CASES: u32 = 250;
const NOW: u64 = START / 1_000;

#[derive(Clone, Debug)]
enum Forged {
    Bytes(Vec<u8>),
    /// A first byte, and fields of these sizes.
    Shaped(u8, Vec<usize>, Vec<u64>),
    /// A stored state with this many bytes more, or less, and some bytes changed.
    Changed(isize, Vec<(usize, u8)>),
}

impl Forged {
    fn value(&self, stored: &[u8]) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Shaped(first, sizes, numbers) => {
                let mut value = vec![*first];
                for (size, number) in sizes.iter().zip(numbers) {
                    put(&mut value, *number, *size);
                }
                value
            }
            Self::Changed(more, bytes) => {
                let mut value = stored.to_vec();
                value.resize(value.len().saturating_add_signed(*more), 1);
                let length = value.len().max(1);
                for (at, byte) in bytes {
                    if let Some(into) = value.get_mut(at % length) {
                        *into = *byte;
                    }
                }
                value
            }
        }
    }
}

fn forged() -> impl Strategy<Value = Forged> {
    let firsts = prop_oneof![0..9_u8, 126..240_u8, Just(255)];
    let sizes = select(vec![
        vec![7, 4, 7, 4, 7, 4, 7, 4],
        vec![7, 4, 7, 4],
        vec![7, 7, 7],
        vec![7, 6, 6],
        vec![2, 6, 3],
        vec![1, 4, 7, 1, 1, 4, 4],
        vec![1, 4, 5, 1, 1, 2],
        vec![7, 1, 1, 7, 7, 7, 3, 1],
        vec![7, 1, 7, 7, 7, 4, 1, 7],
    ]);
    let edges = vec![0, 1, 9, 10_000_000, 1 << 32, 1 << 52, 1 << 53, u64::MAX];
    let numbers = prop_oneof![
        select(edges),
        0..20_u64,
        NOW - 20_000_000..NOW + 20_000_000,
        any::<u64>()
    ];
    let changes = (-40..24_isize, vec((any::<usize>(), any::<u8>()), 0..4));
    prop_oneof![
        vec(any::<u8>(), 0..400).prop_map(Forged::Bytes),
        (firsts, sizes, vec(numbers, 8))
            .prop_map(|(first, sizes, numbers)| Forged::Shaped(first, sizes, numbers)),
        changes.prop_map(|(more, bytes)| Forged::Changed(more, bytes)),
    ]
}

/// The limits of the fixture, and others for the same values.
fn all_limits() -> Vec<(Tag, Limit)> {
    let mut all = limits();
    let year = Duration::from_hours(24 * 365);
    for (tag, limit) in limits() {
        all.push((tag + 5, Limit::new(3, year, limit.algorithm())));
    }
    all
}

/// Sends one command with a call about a forged key between others. Only that one may fail.
fn check(
    limiter: &mut RedisLimiter,
    tag: Tag,
    limit: Algorithm,
    value: &[u8],
) -> Result<(), TestCaseError> {
    let charged = limiter.take(START - SECOND, tag, 1).windows[0]
        .state
        .clone();
    for (op, cost, charge) in [
        (Op::Peek, 1, None),
        (Op::Take, 1, None),
        (Op::Take, 3, Some(charged)),
        (Op::Refund, 1, None),
        (Op::Refund, 1 << 40, None),
        (Op::Reset, 0, None),
    ] {
        let key = limiter.key(tag);
        limiter.run::<()>(&[b"SET", key.as_bytes(), value]);
        let mut call = limiter.build(op, "ann", &[tag], cost);
        call.windows[0].charge = charge.map(|state| Charge {
            at_least: Some(state.clone()),
            since: Nanos(START),
            taken: Some(state),
            until: Nanos(START),
        });
        let calls = [
            limiter.build(Op::Take, "bob", &[tag], 0),
            call,
            limiter.build(Op::Take, "eve", &tags(), 0),
        ];
        let answers = limiter.send(&calls.iter().collect::<Vec<_>>(), Some(START));
        prop_assert!(answers[0].is_ok() && answers[2].is_ok(), "{:?}", answers);
        if let Err(failure) = &answers[1] {
            prop_assert_eq!(failure, &Failure::Foreign(key.as_str().into()));
            let after: Option<Vec<u8>> = limiter.run(&["GET", &key]);
            // The script does not read the inside of a log, alone or beside others.
            let is_log =
                matches!(value.first(), Some(5 | 255)) && matches!(limit, Algorithm::SlidingLog);
            prop_assert!(is_log || after.as_deref() == Some(value), "{:?}", op);
        }
        limiter.run::<()>(&["DEL", &key]);
    }
    Ok(())
}

#[test]
fn any_bytes_in_a_key_fail_calls_about_this_key_alone() {
    for limiter in RedisLimiter::each(&all_limits()) {
        let limiter = RefCell::new(limiter);
        let config = ProptestConfig {
            failure_persistence: None,
            cases: CASES,
            ..ProptestConfig::default()
        };
        let mut runner = TestRunner::new(config);
        let law = |(forged, used, has_several): (Forged, u64, bool)| {
            let limiter = &mut *limiter.borrow_mut();
            for (tag, limit) in all_limits() {
                let key = limiter.key(tag);
                limiter.run::<()>(&["FLUSHALL"]);
                for age in [3, 1, 0] {
                    limiter.take(START - age * SECOND, tag, used);
                }
                if has_several {
                    let other = Limit::new(7, Duration::from_mins(1), limit.algorithm());
                    limiter.update(tag, &other);
                    limiter.take(START, tag, 1);
                    limiter.update(tag, &limit);
                }
                let stored: Option<Vec<u8>> = limiter.run(&["GET", &key]);
                let value = forged.value(&stored.unwrap_or_default());
                limiter.run::<()>(&["DEL", &key]);
                check(limiter, tag, limit.algorithm(), &value)?;
            }
            Ok(())
        };
        if let Err(failure) = runner.run(&(forged(), 1..4_u64, any::<bool>()), law) {
            panic!("{failure}\n{runner}");
        }
    }
}

#[test]
fn values_that_once_ended_a_node_or_a_command_are_of_another_program() {
    for mut limiter in RedisLimiter::each(&limits()) {
        let fields = |first: u8, fields: &[(u64, usize)]| {
            let mut value = vec![first];
            for (number, size) in fields {
                put(&mut value, *number, *size);
            }
            value
        };
        let log = fields(
            5,
            &[(10_000_000, 7), (0, 4), (NOW, 7), (u64::from(u32::MAX), 4)],
        );
        limiter.take(START, 1, 1);
        let key = limiter.key(1);
        let window: Vec<u8> = limiter.run(&["GET", &key]);
        let window = [window, vec![1; 20_000]].concat();
        let fixed = fields(6, &[(NOW, 7), (10_000_000, 7), (u64::MAX, 7)]);
        let bucket = fields(128, &[(NOW, 7), (u64::MAX, 7), (1_000_000_000, 7)]);
        for (tag, value) in [(0, bucket), (1, window), (2, log), (3, fixed)] {
            let key = limiter.key(tag);
            limiter.run::<()>(&[b"SET", key.as_bytes(), &value]);
            let calls = [
                limiter.build(Op::Take, "bob", &tags(), 1),
                limiter.build(Op::Take, "ann", &[tag], 1),
            ];
            let answers = limiter.send(&calls.iter().collect::<Vec<&Call>>(), Some(START));
            assert!(answers[0].is_ok(), "{tag}: {answers:?}");
            assert_eq!(answers[1], Err(Failure::Foreign(key.as_str().into())));
            assert_eq!(limiter.run::<Vec<u8>>(&["GET", &key]), value);
        }
    }
}

#[test]
fn a_value_that_no_request_wrote_is_not_a_remembered_request() {
    let mut limiter = RedisLimiter::new(&limits());
    let mut call = limiter.build(Op::Take, "ann", &[0], 1);
    call.request_id = Some(RequestId {
        id: b"payment".to_vec().into(),
        keep: Nanos(60 * SECOND),
    });
    limiter.send_one(START, &call);
    let keys: Vec<String> = limiter.run(&["KEYS", "*payment*"]);
    limiter.run::<()>(&["SET", &keys[0], "something else"]);
    let answers = limiter.send(&[&call], Some(START));
    assert_eq!(answers, [Err(Failure::Foreign(keys[0].as_str().into()))]);
}

#[test]
fn a_forged_era_concerns_the_calls_that_need_it_alone() {
    let mut limiter = RedisLimiter::new(&limits());
    let key = limiter.key(0).replace(":w0~b", ":!");
    // The head of an era, without the resets that it announces.
    let cut = [vec![0; 28], vec![9; 5]].concat();
    let hash = || vec![b"HSET".to_vec(), b"field".to_vec(), b"value".to_vec()];
    let set = |value: &[u8]| vec![b"SET".to_vec(), value.to_vec()];
    for command in [
        hash(),
        set(b""),
        set(b"something else"),
        set(&[0xFF; 28]),
        set(&cut),
    ] {
        limiter.run::<()>(&["FLUSHALL"]);
        let mut words = command.clone();
        words.insert(1, key.clone().into_bytes());
        limiter.run::<()>(&words);
        let mut named = limiter.build(Op::Take, "ann", &[0], 1);
        named.request_id = Some(RequestId {
            id: b"payment".to_vec().into(),
            keep: Nanos(60 * SECOND),
        });
        let mut charging = limiter.build(Op::Take, "ann", &[0], 1);
        charging.windows[0].charge = Some(Charge::default());
        let calls = [
            limiter.build(Op::Take, "ann", &[0], 1),
            limiter.build(Op::Reset, "ann", &[0], 0),
            limiter.build(Op::Refund, "ann", &[0], 1),
            charging,
        ];
        let calls: Vec<&Call> = [&named].into_iter().chain(&calls).collect();
        let answers = limiter.send(&calls, Some(START));
        let foreign = |at: usize| matches!(&answers[at], Err(Failure::Foreign(_)));
        assert!(foreign(0) && foreign(3) && foreign(4), "{answers:?}");
        assert!(answers[1].is_ok());
        assert_eq!(answers[2], Err(Failure::Foreign(key.as_str().into())));
    }
}
