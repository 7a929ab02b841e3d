use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rate_limiter_core::{Limit, Scale, Snapshot};
use rate_limiter_distributed::{Meter, Receipt, RequestId, WindowCall};

use super::*;

const START: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// A key in a store, and the limits by which nodes judge it.
struct Key {
    value: Option<Vec<u8>>,
    ttl_ms: u64,
    now: u64,
}

impl Key {
    fn new() -> Self {
        Self {
            value: None,
            ttl_ms: 0,
            now: START,
        }
    }

    fn run(&mut self, call: Call) -> Reply {
        let mut decision = decide(&[call], self.value.as_deref(), Nanos(self.now));
        match decision.write {
            Write::Keep => {}
            Write::Put(value, ttl_ms) => (self.value, self.ttl_ms) = (Some(value), ttl_ms),
            Write::Delete => self.value = None,
        }
        decision.replies.remove(0).expect("a state")
    }

    /// Takes a cost, and returns whether it was admitted, and what is left.
    fn take(&mut self, limit: &Limit, cost: u64) -> (bool, u64) {
        let usage = self.run(call(Op::Take, limit, cost)).windows[0].usage;
        (usage.allowed(), usage.remaining)
    }

    fn left(&mut self, limit: &Limit) -> u64 {
        self.run(call(Op::Peek, limit, 0)).windows[0]
            .usage
            .remaining
    }
}

fn call(op: Op, limit: &Limit, cost: u64) -> Call {
    let meter = Arc::new(Meter::new("w", limit).expect("a valid limit"));
    Call {
        key: Arc::from(*b"key"),
        op,
        cost,
        scale: Scale::ONE,
        windows: Box::new([WindowCall {
            meter,
            charge: None,
        }]),
        request_id: None,
        receipt: None,
        named: Vec::new(),
    }
}

fn named(mut call: Call, id: &[u8]) -> Call {
    let keep = Nanos(60 * SECOND);
    call.request_id = Some(RequestId {
        id: id.into(),
        keep,
    });
    call
}

fn window() -> Limit {
    Limit::sliding_window(10, Duration::from_hours(1))
}

#[test]
fn a_name_is_charged_once_until_a_refund_or_a_reset_ends_it() {
    let (mut key, limit) = (Key::new(), window());
    let once = || named(call(Op::Take, &limit, 4), b"order");
    assert!(!key.run(once()).repeated);
    assert!(key.run(once()).repeated);
    assert_eq!(key.left(&limit), 6);
    // Another cost is another call, and a denied one is not remembered.
    assert!(!key.run(named(call(Op::Take, &limit, 5), b"order")).repeated);
    assert!(
        !key.run(named(call(Op::Take, &limit, 5), b"other")).windows[0]
            .usage
            .allowed()
    );
    assert!(!key.run(named(call(Op::Take, &limit, 1), b"other")).repeated);

    key.run(call(Op::Refund, &limit, 9));
    assert!(!key.run(once()).repeated);
    key.run(call(Op::Reset, &limit, 0));
    assert!(!key.run(once()).repeated);
    assert_eq!(key.left(&limit), 6);
    key.now += 60 * SECOND;
    assert!(!key.run(once()).repeated);
}

#[test]
fn a_receipt_gives_back_what_its_call_was_charged_and_no_more() {
    let (mut key, limit) = (Key::new(), window());
    let at = key.run(named(call(Op::Take, &limit, 4), b"order")).now;
    key.now += SECOND;
    key.take(&limit, 3);
    let back = |cost, serial, at| {
        let mut back = named(call(Op::Refund, &limit, cost), b"order");
        let charged = 4;
        back.receipt = Some(Receipt {
            at,
            serial,
            charged,
        });
        back
    };
    for (cost, left) in [(1, 4), (9, 7), (9, 7)] {
        key.run(back(cost, 7, at));
        assert_eq!(key.left(&limit), left);
    }
    assert!(
        !key.run(named(call(Op::Take, &limit, 4), b"order")).repeated,
        "it was given back"
    );
    key.run(call(Op::Reset, &limit, 0));
    key.take(&limit, 5);
    key.run(back(9, 8, at));
    assert_eq!(key.left(&limit), 5, "the reset has ended it");
}

#[test]
fn a_window_in_shadow_mode_admits_each_call_and_counts_what_fits() {
    let (mut key, limit) = (Key::new(), window().enforced(false));
    assert_eq!(key.take(&limit, 8), (true, 2));
    let reply = key.run(call(Op::Take, &limit, 3));
    let usage = reply.windows[0].usage;
    assert!(usage.allowed() && usage.would_deny());
    assert_eq!(key.take(&limit, 2), (true, 0));
    // Once it is enforced, what it has counted stays.
    assert_eq!(key.take(&window(), 1), (false, 0));
}

#[test]
fn lost_usage_is_restored_and_that_of_an_outage_is_added() {
    let (mut key, limit) = (Key::new(), Limit::token_bucket(10, Duration::from_secs(10)));
    let debt = |seconds: u64| {
        Some(Snapshot::Bucket {
            debt: Nanos(seconds * SECOND),
        })
    };
    let mut charged = call(Op::Peek, &limit, 0);
    charged.windows[0].charge = Some(Charge {
        at_least: debt(3),
        taken: debt(2),
        ..Charge::default()
    });
    assert_eq!(key.run(charged.clone()).windows[0].usage.remaining, 5);
    // What is known already is not restored again, and a bucket never holds more than fits.
    assert_eq!(key.run(charged.clone()).windows[0].usage.remaining, 3);
    key.take(&limit, 3);
    let reply = key.run(charged);
    assert_eq!(reply.windows[0].usage.reset_after, Nanos(10 * SECOND));
}

#[test]
fn a_state_from_before_a_refund_or_reset_is_not_restored() {
    for (op, cost, left) in [(Op::Reset, 0, 10), (Op::Refund, 3, 8)] {
        let (mut key, limit) = (
            Key::new(),
            Limit::token_bucket(10, Duration::from_hours(10)),
        );
        key.take(&limit, 5);
        key.run(call(op, &limit, cost));
        let mut charged = call(Op::Peek, &limit, 0);
        for (since, left) in [(START - 1, left), (START + SECOND, 5)] {
            charged.windows[0].charge = Some(Charge {
                at_least: Some(Snapshot::Bucket {
                    debt: Nanos(5 * HOUR),
                }),
                since: Nanos(since),
                ..Charge::default()
            });
            assert_eq!(key.run(charged.clone()).windows[0].usage.remaining, left);
        }
    }
}

#[test]
fn a_named_call_of_an_outage_is_charged_once() {
    let (mut key, limit) = (Key::new(), window());
    let mut report = call(Op::Peek, &limit, 0);
    let uses = Snapshot::Window {
        width: Nanos(HOUR / 10),
        newest: START / (HOUR / 10),
        counts: vec![4],
    };
    report.named.push(NamedCharge {
        request_id: RequestId {
            id: Box::from(*b"order"),
            keep: Nanos(60 * SECOND),
        },
        cost: 4,
        at: Nanos(START),
        is_own: vec![true],
        taken: vec![Some(uses)],
    });
    for _report in 0..2 {
        assert_eq!(key.run(report.clone()).windows[0].usage.remaining, 6);
    }
    assert!(key.run(named(call(Op::Take, &limit, 4), b"order")).repeated);
}

#[test]
fn nodes_with_two_limits_count_together_and_neither_forgets() {
    let second = Limit::sliding_window(10, Duration::from_secs(1));
    let minute = Limit::sliding_window(30, Duration::from_mins(1));
    let mut key = Key::new();
    let mut admitted = 0;
    for _step in 0..600 {
        let by_second = key.take(&second, 1).0;
        let by_minute = key.take(&minute, 1).0;
        admitted += u64::from(by_minute);
        // What one admits counts in the other.
        assert!(by_second || key.left(&second) == 0);
        key.now += SECOND / 20;
    }
    assert!(admitted <= 30, "{admitted} in half a minute");
    key.now += 2 * HOUR;
    key.take(&minute, 1);
    assert_eq!(
        State::decode(key.value.as_deref().expect("a value"))
            .expect("a state")
            .windows
            .len(),
        1
    );
}

#[test]
fn a_state_is_kept_as_long_as_it_counts_and_removed_when_nothing_does() {
    let (mut key, limit) = (Key::new(), Limit::token_bucket(10, Duration::from_secs(10)));
    key.take(&limit, 4);
    assert_eq!(key.ttl_ms, 4_000 + SLACK_MS);
    let denied = decide(
        &[call(Op::Take, &limit, 9)],
        key.value.as_deref(),
        Nanos(key.now),
    );
    assert_eq!(denied.write, Write::Keep, "a denied call writes nothing");
    key.now += 4 * SECOND;
    let zero = call(Op::Refund, &limit, 1);
    key.run(zero);
    assert_eq!(key.left(&limit), 10);
    key.now += 3 * HOUR;
    key.take(&limit, 1);
    key.now += HOUR;
    let mut named = call(Op::Peek, &limit, 0);
    named.windows[0].charge = Some(Charge::default());
    key.run(named);
    assert_eq!(key.value, None);
}

#[test]
fn usage_of_a_clock_that_was_ahead_counts_as_of_now() {
    for limit in [
        Limit::token_bucket(10, Duration::from_hours(1)),
        window(),
        Limit::sliding_log(10, Duration::from_hours(1)),
        Limit::fixed_window(10, Duration::from_hours(1)).from_first_use(),
    ] {
        let mut key = Key::new();
        key.now += 24 * HOUR;
        key.take(&limit, 10);
        key.now = START;
        assert_eq!(key.left(&limit), 0, "{limit:?}");
        key.take(&limit, 0);
        let mut refund = call(Op::Refund, &limit, 1);
        refund.cost = 1;
        key.run(refund);
        key.now += 2 * HOUR;
        assert_eq!(key.left(&limit), 10, "{limit:?}");
        // A small difference stops the time instead.
        key.take(&limit, 10);
        key.now -= SECOND / 2;
        assert_eq!(
            key.run(call(Op::Peek, &limit, 0)).now,
            Nanos(key.now + SECOND / 2)
        );
    }
}

proptest! {
    #[test]
    fn any_other_bytes_are_refused(bytes in vec(any::<u8>(), 0..200), at in 0..200_usize, bit in 0..8) {
        let limit = window();
        let foreign = decide(&[call(Op::Take, &limit, 1)], Some(&bytes), Nanos(START));
        prop_assert_eq!(foreign.write, Write::Keep);
        prop_assert!(matches!(foreign.replies[..], [Err(Failure::Foreign(_))]));

        let mut key = Key::new();
        key.run(named(call(Op::Take, &limit, 4), b"order"));
        let mut value = key.value.expect("a value");
        let at = at % value.len();
        value[at] ^= 1_u8 << bit;
        let changed = decide(&[call(Op::Take, &limit, 1)], Some(&value), Nanos(START));
        prop_assert!(matches!(changed.replies[..], [Err(Failure::Foreign(_))]));
        let cut = decide(&[call(Op::Take, &limit, 1)], Some(&value[..at]), Nanos(START));
        prop_assert!(matches!(cut.replies[..], [Err(Failure::Foreign(_))]));
    }
}
