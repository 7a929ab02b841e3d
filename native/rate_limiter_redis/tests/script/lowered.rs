//! Resets and refunds beside what a node restores or reports from before them.

use rate_limiter_core::{Nanos, Snapshot, Tag};
use rate_limiter_distributed::{Call, Charge, NamedCharge, Op, Receipt, RequestId};

use crate::fixture::{limits, remaining, tags, SECOND, START};
use crate::redis_limiter::RedisLimiter;

const USED: u64 = 6;

/// A refund of 4 by a receipt of the call that used it.
fn give_back(limiter: &RedisLimiter) -> Call {
    let mut call = limiter.build(Op::Refund, "ann", &tags(), 4);
    call.receipt = Some(Receipt {
        at: Nanos(START),
        serial: 1,
        charged: USED,
    });
    call
}

/// A call that takes nothing, and carries what `ann` had used at the start.
fn carrying(limiter: &mut RedisLimiter, charge: impl Fn(Snapshot) -> Charge) -> Call {
    let used = limiter.build(Op::Take, "other", &tags(), USED);
    let states = limiter.send_one(START, &used).windows;
    limiter.send_one(START, &limiter.build(Op::Reset, "other", &tags(), 0));
    let mut call = limiter.build(Op::Peek, "ann", &tags(), 0);
    for (window, row) in call.windows.iter_mut().zip(states) {
        window.charge = Some(charge(row.state));
    }
    call
}

fn restoring(limiter: &mut RedisLimiter, since: u64) -> Call {
    carrying(limiter, |state| Charge {
        at_least: Some(state),
        since: Nanos(since),
        ..Charge::default()
    })
}

fn reporting(limiter: &mut RedisLimiter, until: u64) -> Call {
    carrying(limiter, |state| Charge {
        taken: Some(state),
        until: Nanos(until),
        ..Charge::default()
    })
}

fn without(cost: u64) -> [u64; 5] {
    [10 - cost; 5]
}

#[test]
fn a_state_from_before_a_reset_or_refund_is_not_restored() {
    let mut limiter = RedisLimiter::new(&limits());
    let lowering = [
        (limiter.build(Op::Reset, "ann", &tags(), 0), 0),
        (limiter.build(Op::Refund, "ann", &tags(), 4), 2),
        (give_back(&limiter), 2),
    ];
    for (lowers, left) in lowering {
        limiter.run::<()>(&["FLUSHALL"]);
        let restores = restoring(&mut limiter, START);
        limiter.send_one(START, &limiter.build(Op::Take, "ann", &tags(), USED));
        limiter.send_one(START + SECOND, &lowers);
        // Some of it may have left a bucket meanwhile.
        let before = remaining(
            &limiter.send_one(START + SECOND, &limiter.build(Op::Peek, "ann", &tags(), 0)),
        );
        assert_eq!(before[1..], without(left)[1..]);
        assert_eq!(
            remaining(&limiter.send_one(START + SECOND, &restores)),
            before
        );
        // The node has heard of it: this is from a later reply.
        let restores = restoring(&mut limiter, START + SECOND);
        assert_eq!(
            remaining(&limiter.send_one(START + SECOND, &restores))[1..],
            without(USED)[1..]
        );
    }
}

#[test]
fn what_was_admitted_in_an_outage_is_not_charged_after_a_reset() {
    let mut limiter = RedisLimiter::new(&limits());
    // Redis has heard nothing of the id until it is reset.
    let reports = reporting(&mut limiter, START);
    limiter.send_one(START + SECOND, &limiter.build(Op::Reset, "ann", &tags(), 0));
    assert_eq!(
        remaining(&limiter.send_one(START + SECOND, &reports)),
        without(0)
    );
    // The last of it was admitted after the reset.
    let reports = reporting(&mut limiter, START + 2 * SECOND);
    assert_eq!(
        remaining(&limiter.send_one(START + 2 * SECOND, &reports))[1..],
        without(USED)[1..]
    );
    // A refund does not end it: it is of what Redis had counted.
    limiter.run::<()>(&["FLUSHALL"]);
    let reports = reporting(&mut limiter, START);
    limiter.send_one(START, &limiter.build(Op::Take, "ann", &tags(), 3));
    limiter.send_one(
        START + SECOND,
        &limiter.build(Op::Refund, "ann", &tags(), 3),
    );
    assert_eq!(
        remaining(&limiter.send_one(START + SECOND, &reports))[1..],
        without(USED)[1..]
    );
}

#[test]
fn a_reset_of_some_windows_ends_what_was_admitted_of_these() {
    let mut limiter = RedisLimiter::new(&limits());
    let [first, second]: [Vec<Tag>; 2] = [vec![1, 3], vec![1, 2]];
    limiter.send_one(START + SECOND, &limiter.build(Op::Reset, "ann", &first, 0));
    limiter.send_one(
        START + 2 * SECOND,
        &limiter.build(Op::Reset, "ann", &second, 0),
    );
    let reports = reporting(&mut limiter, START + SECOND);
    // Of window 3 at the moment of its reset, so perhaps after it.
    assert_eq!(
        remaining(&limiter.send_one(START + 2 * SECOND, &reports)),
        [4, 10, 10, 4, 4]
    );
}

#[test]
fn a_call_with_a_name_that_was_admitted_before_a_reset_ends_with_it() {
    let mut limiter = RedisLimiter::new(&limits());
    let request_id = RequestId {
        id: b"a".as_slice().into(),
        keep: Nanos(60 * SECOND),
    };
    let mut report = reporting(&mut limiter, START);
    let taken = report
        .windows
        .iter_mut()
        .map(|window| window.charge.take().and_then(|charge| charge.taken));
    report.named = vec![NamedCharge {
        request_id: request_id.clone(),
        cost: USED,
        at: Nanos(START),
        taken: taken.collect(),
        is_own: vec![true; 5],
    }];
    limiter.send_one(START + SECOND, &limiter.build(Op::Reset, "ann", &tags(), 0));
    assert_eq!(
        remaining(&limiter.send_one(START + SECOND, &report)),
        without(0)
    );
    // Nor is its name known: the same call is another one now.
    let mut call = limiter.build(Op::Take, "ann", &tags(), USED);
    call.request_id = Some(request_id);
    assert_eq!(
        remaining(&limiter.send_one(START + SECOND, &call)),
        without(USED)
    );
}

#[test]
fn resets_of_many_windows_over_time_take_bounded_memory() {
    let mut limiter = RedisLimiter::new(&limits());
    for round in 0..200_u64 {
        let name = format!("{round}{}", "x".repeat(50));
        limiter.open(&name, &limits());
        let mut reset = limiter.build(Op::Reset, "ann", &tags(), 0);
        reset.key = b"rl:{same}".as_slice().into();
        let windows = limits().into_iter().map(|(tag, limit)| {
            let meter = rate_limiter_distributed::Meter::new(&format!("{name}{tag}"), &limit);
            rate_limiter_distributed::WindowCall {
                meter: meter.expect("a valid limit").into(),
                charge: None,
            }
        });
        reset.windows = windows.collect();
        limiter.send_one(START + round, &reset);
    }
    let size: usize = limiter.run(&["STRLEN", "rl:{same}:!"]);
    assert!(size < 5_000, "{size}");
}
