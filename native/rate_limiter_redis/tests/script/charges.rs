//! Request ids, and usage that a node reports to the script.

use rate_limiter_core::{Nanos, Snapshot};
use rate_limiter_distributed::{Call, Charge, NamedCharge, Op, RequestId};

use crate::fixture::{allowed, limits, remaining, tags, SECOND, START};
use crate::redis_limiter::RedisLimiter;

#[test]
fn a_call_with_a_request_id_is_charged_once() {
    let mut limiter = RedisLimiter::new(&limits());
    let all = tags();
    let named = |limiter: &RedisLimiter, id: &str, op: Op, cost: u64| {
        let mut call = limiter.build(op, "ann", &all, cost);
        call.request_id = Some(RequestId {
            id: id.as_bytes().into(),
            keep: Nanos(60 * SECOND),
        });
        call
    };
    let first = named(&limiter, "a", Op::Take, 6);
    let again = [&first, &first, &first];
    for answer in limiter.send(&again, Some(START)) {
        assert_eq!(remaining(&answer.expect("an answer")), [4; 5]);
    }
    assert!(allowed(&limiter.send_one(START, &first)));
    // A denied call is not remembered.
    let second = named(&limiter, "b", Op::Take, 6);
    assert!(!allowed(&limiter.send_one(START, &second)));
    limiter.send_one(START, &limiter.build(Op::Reset, "ann", &all, 0));
    assert_eq!(remaining(&limiter.send_one(START, &second)), [4; 5]);
    assert_eq!(remaining(&limiter.send_one(START, &second)), [4; 5]);
    let keys: Vec<String> = limiter.run(&["KEYS", "*:!*"]);
    // Those of two request ids, and of the id's era.
    assert_eq!(keys.len(), 3);
    for key in keys {
        let lifetime: u64 = limiter.run(&["PTTL", &key]);
        assert!(lifetime >= 60_000, "{key}: {lifetime}");
    }
    // A call without a cost takes nothing, and does not use up its request id.
    let asks = named(&limiter, "c", Op::Take, 0);
    assert!(allowed(&limiter.send_one(START, &asks)));
    let takes = named(&limiter, "c", Op::Take, 1);
    assert_eq!(remaining(&limiter.send_one(START, &takes)), [3; 5]);
    // Another id has request ids of its own.
    let mut other = named(&limiter, "b", Op::Take, 6);
    other.key = limiter.build(Op::Take, "bob", &all, 1).key;
    assert_eq!(remaining(&limiter.send_one(START, &other)), [4; 5]);
}

#[test]
fn lost_usage_is_restored_up_to_the_last_known_state() {
    for tag in tags() {
        let mut limiter = RedisLimiter::new(&limits());
        let before = limiter.take(START, tag, 4).windows.remove(0);
        let knows = |limiter: &RedisLimiter| {
            let mut call = limiter.build(Op::Take, "ann", &[tag], 1);
            call.windows[0].charge = Some(Charge {
                at_least: Some(before.state.clone()),
                since: Nanos(START),
                ..Charge::default()
            });
            call
        };
        // Nothing was lost, so nothing is added.
        let call = knows(&limiter);
        assert_eq!(remaining(&limiter.send_one(START, &call)), [5], "{tag}");
        assert_eq!(remaining(&limiter.send_one(START, &call)), [4], "{tag}");
        limiter.run::<()>(&["FLUSHALL"]);
        assert_eq!(remaining(&limiter.send_one(START, &call)), [5], "{tag}");
        assert_eq!(remaining(&limiter.take(START, tag, 0)), [5], "{tag}");
    }
}

#[test]
fn usage_of_an_outage_is_charged_before_the_call_even_if_it_is_denied() {
    for tag in tags() {
        let mut limiter = RedisLimiter::new(&limits());
        let taken = limiter.take(START, tag, 3).windows.remove(0).state;
        let charging = |limiter: &RedisLimiter, cost| {
            let mut call = limiter.build(Op::Take, "ann", &[tag], cost);
            call.windows[0].charge = Some(Charge {
                taken: Some(taken.clone()),
                until: Nanos(START),
                ..Charge::default()
            });
            call
        };
        // As if a node had admitted the same usage in an outage.
        let call = charging(&limiter, 1);
        assert_eq!(remaining(&limiter.send_one(START, &call)), [3], "{tag}");
        let call = charging(&limiter, 4);
        assert!(!allowed(&limiter.send_one(START, &call)), "{tag}");
        assert_eq!(remaining(&limiter.take(START, tag, 0)), [0], "{tag}");
        assert!(
            allowed(&limiter.take(START + 22 * SECOND, tag, 10)),
            "{tag}"
        );
    }
}

/// A call that a node admitted in an outage: it took `cost` of some windows, now.
fn named(limiter: &mut RedisLimiter, id: &str, own: &[u64], cost: u64) -> NamedCharge {
    let mut other = limiter.build(Op::Take, "other", &tags(), cost);
    other.key = limiter.build(Op::Take, id, &tags(), 1).key;
    let states = limiter.send_one(START, &other).windows;
    let taken = states.into_iter().zip(tags());
    NamedCharge {
        request_id: request_id(id),
        cost,
        at: Nanos(START),
        is_own: tags().iter().map(|tag| own.contains(tag)).collect(),
        taken: taken
            .map(|(row, tag)| own.contains(&tag).then_some(row.state))
            .collect(),
    }
}

fn request_id(id: &str) -> RequestId {
    RequestId {
        id: id.as_bytes().into(),
        keep: Nanos(60 * SECOND),
    }
}

#[test]
fn a_named_call_of_an_outage_is_charged_unless_its_name_is_known() {
    let mut limiter = RedisLimiter::new(&limits());
    let all = tags();
    let charges = [
        named(&mut limiter, "a", &all, 2),
        named(&mut limiter, "b", &all[..2], 3),
    ];
    let mut report = limiter.build(Op::Peek, "ann", &all, 0);
    report.named = charges.to_vec();
    let again = [&report, &report];
    for answer in limiter.send(&again, Some(START)) {
        assert_eq!(remaining(&answer.expect("an answer")), [5, 5, 8, 8, 8]);
    }
    assert_eq!(
        remaining(&limiter.send_one(START, &report)),
        [5, 5, 8, 8, 8]
    );
    // A repetition of either is known; another cost and other windows are another call.
    let take = |limiter: &RedisLimiter, id: &str, tags: &[u64], cost: u64| {
        let mut call: Call = limiter.build(Op::Take, "ann", tags, cost);
        call.request_id = Some(request_id(id));
        call
    };
    let call = take(&limiter, "a", &all, 2);
    assert_eq!(remaining(&limiter.send_one(START, &call)), [5, 5, 8, 8, 8]);
    let call = take(&limiter, "b", &all[..2], 3);
    assert_eq!(remaining(&limiter.send_one(START, &call)), [5, 5]);
    let call = take(&limiter, "b", &all, 3);
    assert_eq!(remaining(&limiter.send_one(START, &call)), [2, 2, 5, 5, 5]);
    // One that Redis has charged already, and a node as well since its reply was lost.
    report.named = vec![named(&mut limiter, "c", &all, 1)];
    let call = take(&limiter, "c", &all, 1);
    assert_eq!(remaining(&limiter.send_one(START, &call)), [1, 1, 4, 4, 4]);
    assert_eq!(
        remaining(&limiter.send_one(START, &report)),
        [1, 1, 4, 4, 4]
    );
}

#[test]
fn a_named_call_travels_with_what_has_no_name() {
    let mut limiter = RedisLimiter::new(&limits());
    let name = named(&mut limiter, "a", &[0, 1, 2, 3, 4], 2);
    let mut report = limiter.build(Op::Take, "ann", &tags(), 1);
    for (window, taken) in report.windows.iter_mut().zip(&name.taken) {
        window.charge = Some(Charge {
            taken: taken.clone(),
            until: Nanos(START),
            ..Charge::default()
        });
    }
    report.named = vec![name];
    report.request_id = Some(request_id("mine"));
    let other = limiter.build(Op::Take, "bob", &[3], 4);
    let answers = limiter.send(&[&other, &report, &other, &report], Some(START));
    let left: Vec<_> = answers
        .into_iter()
        .map(|answer| remaining(&answer.expect("an answer")))
        .collect();
    assert_eq!(left, [vec![6], vec![5; 5], vec![2], vec![3; 5]]);
}

#[test]
fn a_reply_holds_the_state_in_portable_form() {
    let mut limiter = RedisLimiter::new(&limits());
    let mut states = Vec::new();
    for tag in tags() {
        limiter.take(START, tag, 1);
        states.push(
            limiter
                .take(START + 2 * SECOND, tag, 2)
                .windows
                .remove(0)
                .state,
        );
    }
    let second = Nanos(SECOND);
    let expected = [
        Snapshot::Bucket {
            debt: Nanos(2 * SECOND),
        },
        Snapshot::Window {
            width: second,
            newest: (START + 2 * SECOND) / SECOND,
            counts: vec![2, 0, 1],
        },
        Snapshot::Log {
            uses: vec![(Nanos(START), 1), (Nanos(START + 2 * SECOND), 2)],
        },
        Snapshot::Fixed {
            start: Nanos(START),
            per: Nanos(10 * SECOND),
            used: 3,
        },
        Snapshot::Fixed {
            start: Nanos(START),
            per: Nanos(10 * SECOND),
            used: 3,
        },
    ];
    assert_eq!(states, expected);
}
