//! Single stories of what can happen.

use std::time::Duration;

use rate_limiter_core::{Limit, Nanos, Retry, Scale, Snapshot};

use crate::call::{Op, RequestId};
use crate::options::OnOutage;
use crate::request::{Request, Source, Verdict};

use super::cluster::{question, Weather, World};

const SECOND: Nanos = Nanos(1_000_000_000);

fn bucket() -> [Limit; 1] {
    [Limit::token_bucket(12, Duration::from_secs(12))]
}

fn world(nodes: usize, on_outage: OnOutage) -> World {
    World::new(&bucket(), &vec![0; nodes], on_outage)
}

#[test]
fn an_outage_goes_on_from_what_redis_said_last_and_is_charged_afterwards() {
    let world = world(2, OnOutage::Share);
    let [here, there] = &world.nodes[..] else {
        panic!("two nodes")
    };
    assert_eq!(here.take(1, 4).source, Source::Authority);
    world.weather(Weather::Away);
    // Of 12, 8 are left: 4 for each node.
    let outcome = here.take(1, 1);
    assert_eq!(
        (outcome.source, outcome.switched_to),
        (Source::Fallback, Some(Source::Fallback))
    );
    let answer = outcome.answer.expect("an answer");
    assert_eq!(
        (answer.binding().1.max, answer.binding().1.remaining),
        (6, 3)
    );
    assert_eq!(here.take(1, 3).switched_to, None);
    assert_eq!(here.take(1, 1).verdict, Verdict::Denied);
    // The other has not heard of the key, and has its whole share.
    assert_eq!(there.take(1, 6).verdict, Verdict::Allowed);
    assert_eq!(there.take(1, 1).verdict, Verdict::Denied);

    world.weather(Weather::Fair);
    let outcome = here.ask(1, Op::Peek, 0).expect("an answer at once");
    assert_eq!(
        (outcome.source, outcome.switched_to),
        (Source::Authority, Some(Source::Authority))
    );
    assert_eq!(here.remaining(1), 4);
    // Never more than all.
    assert_eq!(there.remaining(1), 0);
    world.wait(Nanos(12 * SECOND.0));
    assert_eq!(here.remaining(1), 12);
    assert_eq!(here.limiter.stats().owing, 0);
}

#[test]
fn what_was_let_through_drains_while_it_is_away_at_the_rate_of_the_share() {
    let world = world(2, OnOutage::Share);
    world.weather(Weather::Away);
    for node in &world.nodes {
        assert_eq!(node.take(1, 6).verdict, Verdict::Allowed);
    }
    // One token a second in all: each node has got back 2 of its 6.
    world.wait(Nanos(4 * SECOND.0));
    for node in &world.nodes {
        assert_eq!(node.remaining(1), 2);
    }
    world.weather(Weather::Fair);
    for node in &world.nodes {
        node.remaining(1);
    }
    assert_eq!(world.nodes[0].remaining(1), 4);
}

#[test]
fn keys_that_nobody_asks_about_are_told_of_a_few_at_a_time() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    for id in 0..1_000 {
        node.take(id, 5);
    }
    assert_eq!(node.limiter.stats().owing, 1_000);
    world.weather(Weather::Held);
    let before = node.line.sent();
    let told = node.ask_later(5_000, Op::Take, 1);
    assert_eq!(node.line.sent() - before, 1);
    node.line.let_go(Weather::Fair);
    assert_eq!(told.lock().expect("no panic").len(), 1);
    assert_eq!(node.line.on_their_way(), 32);
    // Meanwhile a call goes as if nobody owed anything, and brings no more along.
    let told = node.ask_later(5_001, Op::Take, 1);
    assert_eq!(node.line.on_their_way(), 33);
    while node.line.on_their_way() > 0 {
        node.line.let_go(Weather::Fair);
        assert!(node.line.on_their_way() <= 34);
    }
    assert_eq!(told.lock().expect("no panic").len(), 1);
    assert_eq!(
        (node.limiter.stats().owing, node.limiter.stats().pending),
        (0, 0)
    );
    for id in 0..1_000 {
        let known = world.stored(id).expect("a key that was told of");
        let debt = Nanos(5 * SECOND.0);
        assert_eq!(known.window(1), Some(&Snapshot::Bucket { debt }), "{id}");
    }
}

#[test]
fn keys_that_owe_nothing_any_more_keep_none_waiting_that_does() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    for id in 0..100 {
        node.take(id, 1);
    }
    node.take(100, 12);
    // All but the last have drained.
    world.wait(SECOND);
    world.weather(Weather::Fair);
    node.sweep();
    assert_eq!(node.limiter.stats().owing, 0);
    assert_eq!(world.stored(0), None);
    let debt = Nanos(11 * SECOND.0);
    let known = world.stored(100).expect("a key that was told of");
    assert_eq!(known.window(1), Some(&Snapshot::Bucket { debt }));
}

#[test]
fn without_any_call_a_sweep_has_keys_told_of() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    node.take(1, 5);
    node.sweep();
    assert_eq!(node.limiter.stats().owing, 1);
    world.weather(Weather::Fair);
    // It has just failed: not again at once.
    node.sweep();
    assert_eq!(world.stored(1), None);
    world.wait(SECOND);
    node.sweep();
    let debt = Nanos(4 * SECOND.0);
    let known = world.stored(1).expect("a key that was told of");
    assert_eq!(known.window(1), Some(&Snapshot::Bucket { debt }));
}

#[test]
fn data_that_redis_has_lost_is_put_back_with_the_next_call() {
    let world = world(2, OnOutage::Share);
    let [here, there] = &world.nodes[..] else {
        panic!("two nodes")
    };
    here.take(1, 3);
    there.take(1, 4);
    here.take(2, 2);
    world.lose_data();
    world.lose_data();
    // The node that heard last knows all of it; the other one only what it heard.
    assert_eq!(here.remaining(1), 9);
    assert_eq!(there.remaining(1), 5);
    assert_eq!(here.remaining(1), 5);
    assert_eq!(here.remaining(2), 10);
    // Once is enough: what is given back afterwards is.
    here.ask(1, Op::Reset, 0);
    assert_eq!(there.remaining(1), 12);
}

#[test]
fn a_call_that_was_waiting_when_the_data_was_lost_overwrites_nothing_that_is_known() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    node.take(1, 5);
    node.line.weather(Weather::Held);
    node.ask_later(1, Op::Take, 1);
    world.lose_data();
    node.line.let_go(Weather::Fair);
    node.line.weather(Weather::Fair);
    assert_eq!(node.remaining(1), 7);
}

#[test]
fn a_lost_call_is_answered_here_and_charged() {
    for weather in [Weather::LostThere, Weather::LostBack] {
        let world = world(1, OnOutage::Share);
        let node = &world.nodes[0];
        node.take(1, 4);
        world.weather(weather);
        let outcome = node.take(1, 2);
        assert_eq!(
            (outcome.verdict, outcome.source),
            (Verdict::Allowed, Source::Fallback)
        );
        // That is no outage.
        assert_eq!(outcome.switched_to, None);
        world.weather(Weather::Fair);
        let left = if weather == Weather::LostBack { 4 } else { 6 };
        assert_eq!(node.remaining(1), left);
    }
}

#[test]
fn a_charge_that_is_lost_again_and_again_locks_nobody_out() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    node.take(1, 4);
    world.weather(Weather::LostBack);
    for _ in 0..50 {
        node.ask(1, Op::Peek, 0);
    }
    world.weather(Weather::Fair);
    let denied = node.take(1, 1);
    assert_eq!(denied.verdict, Verdict::Denied);
    world.wait(SECOND);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
}

#[test]
fn deny_answers_nothing_and_owes_nothing() {
    let world = world(1, OnOutage::Deny);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    for op in [Op::Take, Op::Peek, Op::Refund, Op::Reset] {
        let outcome = node.ask(1, op, 1).expect("an answer at once");
        assert_eq!(
            (outcome.verdict, outcome.answer),
            (Verdict::Unavailable, None)
        );
    }
    world.weather(Weather::Fair);
    assert_eq!(node.remaining(1), 12);
}

#[test]
fn allow_lets_everything_through_and_charges_up_to_the_share() {
    let world = world(2, OnOutage::Allow);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    for remaining in [2, 0, 0, 0] {
        for op in [Op::Peek, Op::Take] {
            let outcome = node.ask(1, op, 4).expect("an answer at once");
            assert_eq!(outcome.verdict, Verdict::Allowed);
            // What is let through is told as it is then, and nobody has to wait for it.
            let answer = outcome.answer.expect("what each window says");
            let (_, usage) = answer.binding();
            assert_eq!((usage.remaining, usage.retry), (remaining, Retry::Now));
        }
    }
    assert_eq!(node.take(1, 12).verdict, Verdict::Allowed);
    world.weather(Weather::Fair);
    assert_eq!(node.remaining(1), 6);
}

#[test]
fn allow_lets_nothing_through_that_redis_never_would_and_charges_nothing_for_it() {
    let world = world(2, OnOutage::Allow);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    for (op, cost) in [(Op::Peek, 13), (Op::Take, 13), (Op::Take, u64::MAX)] {
        let outcome = node.ask(1, op, cost).expect("an answer at once");
        assert_eq!(outcome.verdict, Verdict::Denied);
        let answer = outcome.answer.expect("what each window says");
        assert_eq!(answer.binding().1.retry, Retry::Never);
    }
    world.weather(Weather::Fair);
    assert_eq!(node.remaining(1), 12);
}

#[test]
fn a_node_without_a_share_denies() {
    let limit = [Limit::token_bucket(2, Duration::from_secs(1))];
    let world = World::new(&limit, &[0, 0, 0], OnOutage::Share);
    world.weather(Weather::Away);
    let let_through: Vec<u64> = world
        .nodes
        .iter()
        .map(|node| {
            (0..5)
                .filter(|_| node.take(1, 1).verdict == Verdict::Allowed)
                .count() as u64
        })
        .collect();
    assert_eq!(let_through, [1, 1, 0]);
    let denied = world.nodes[2].take(1, 1).answer.expect("an answer");
    assert_eq!(
        (denied.binding().1.max, denied.binding().1.retry),
        (0, Retry::Never)
    );
    let asked = world.nodes[2]
        .ask(1, Op::Peek, 0)
        .expect("an answer at once");
    assert_eq!(asked.verdict, Verdict::Allowed);
}

#[test]
fn nodes_that_leave_and_come_share_anew_and_what_was_used_stays_used() {
    let world = world(2, OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    node.take(1, 3);
    assert_eq!(node.remaining(1), 3);
    for seconds in [1, 60] {
        node.members.report_at(["0"], Nanos(seconds * SECOND.0));
    }
    assert_eq!(node.remaining(1), 9);
    world.weather(Weather::Fair);
    assert_eq!(node.remaining(1), 9);
}

#[test]
fn a_denial_is_remembered_until_it_ends_and_no_longer_than_a_refund() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    node.take(1, 12);
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    let sent = node.line.sent();
    world.wait(Nanos(SECOND.0 / 4));
    let outcome = node.take(1, 1);
    assert_eq!(
        (outcome.verdict, outcome.source),
        (Verdict::Denied, Source::Authority)
    );
    let answer = outcome.answer.expect("an answer");
    assert_eq!(
        answer.binding().1.retry,
        Retry::After(Nanos(SECOND.0 / 4 * 3))
    );
    assert_eq!(
        (node.line.sent(), node.limiter.stats().cached_denials),
        (sent, 1)
    );
    // Another cost, another scale, a look: those are other questions.
    assert_eq!(node.take(1, 2).verdict, Verdict::Denied);
    assert_eq!(node.remaining(1), 0);
    node.limiter.set_scale(Scale::from_ppm(500_000));
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    node.limiter.set_scale(Scale::ONE);
    assert_eq!(node.line.sent(), sent + 3);

    node.ask(1, Op::Refund, 1);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    world.wait(SECOND);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
}

#[test]
fn many_questions_are_answered_each_in_its_place() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    node.take(3, 12);
    node.take(3, 1);
    world.weather(Weather::Away);
    let asks = [1, 3, 2].map(|id| (question(id, Op::Take, 1), drop));
    let outcomes = node
        .limiter
        .submit_batch(asks.into())
        .expect("windows of its own");
    let said: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.map(|outcome| (outcome.verdict, outcome.source)))
        .collect();
    // The denial is known from before.
    assert_eq!(said[0], Some((Verdict::Allowed, Source::Fallback)));
    assert_eq!(said[1], Some((Verdict::Denied, Source::Authority)));
    assert_eq!(said[2], Some((Verdict::Allowed, Source::Fallback)));
}

#[test]
fn who_waits_no_longer_is_answered_by_this_node_alone_and_redis_is_told() {
    let world = world(2, OnOutage::Share);
    let here = &world.nodes[0];
    world.weather(Weather::Held);
    let late = here.ask_later(1, Op::Take, 1);
    let outcome = here
        .limiter
        .decide_locally(question(1, Op::Take, 1))
        .expect("its window");
    assert_eq!(
        (outcome.verdict, outcome.source),
        (Verdict::Allowed, Source::Fallback)
    );
    assert!(late.lock().expect("no panic").is_empty());
    assert_eq!(here.limiter.stats().pending, 1);
    // Both count: the one that came late, and the one that was let through meanwhile.
    world.weather(Weather::Fair);
    here.line.let_go(Weather::Fair);
    assert_eq!(late.lock().expect("no panic").len(), 1);
    assert_eq!(here.remaining(1), 10);
}

#[test]
fn a_named_call_that_is_made_again_in_an_outage_is_charged_once() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    let ask = || {
        let request = RequestId {
            id: (*b"order 7").into(),
            keep: SECOND,
        };
        let ask = Request {
            request_id: Some(request),
            ..question(1, Op::Take, 5)
        };
        let outcome = node.limiter.submit(ask, drop).expect("windows of its own");
        outcome.expect("an answer at once").verdict
    };
    assert_eq!([ask(), ask(), ask()], [Verdict::Allowed; 3]);
    world.weather(Weather::Fair);
    assert_eq!(node.remaining(1), 7);
}

#[test]
fn what_was_on_its_way_while_the_key_was_answered_is_owed_again_when_it_is_lost() {
    let world = world(1, OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    node.take(1, 4);
    world.weather(Weather::Held);
    // The first brings the debt along, and the second finds nothing more that is owed.
    node.ask_later(1, Op::Peek, 0);
    node.ask_later(1, Op::Peek, 0);
    node.line.overtake();
    node.line.let_go(Weather::Fair);
    node.line.let_go(Weather::LostThere);
    world.weather(Weather::Fair);
    assert_eq!(node.remaining(1), 8);
}

#[test]
fn threads_that_ask_at_once_when_redis_is_back_all_find_what_is_owed() {
    let day = Duration::from_hours(24);
    let world = World::new(&[Limit::token_bucket(100, day)], &[0], OnOutage::Share);
    let node = &world.nodes[0];
    world.weather(Weather::Away);
    for id in 0..100 {
        node.take(id, 60);
    }
    world.weather(Weather::Fair);
    for id in 0..100 {
        let count = || {
            (0..50)
                .filter(|_| node.take(id, 1).verdict == Verdict::Allowed)
                .count()
        };
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        });
        assert_eq!(admitted, 40);
    }
}
