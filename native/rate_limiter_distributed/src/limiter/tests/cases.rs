//! Single cases of outages, losses, shares and remembered denials.

use std::time::Duration;

use rate_limiter_core::{Limit, Nanos, Retry, Scale, Snapshot};

use crate::call::{Op, RequestId};
use crate::options::OnOutage;
use crate::request::{Request, Source, Verdict};

use super::cluster::{request, Cluster, Network};

const SECOND: Nanos = Nanos(1_000_000_000);

fn bucket() -> [Limit; 1] {
    [Limit::token_bucket(12, Duration::from_secs(12))]
}

fn cluster(nodes: usize, on_outage: OnOutage) -> Cluster {
    Cluster::new(&bucket(), &vec![0; nodes], on_outage)
}

#[test]
fn an_outage_continues_from_the_last_known_state_and_is_charged_afterwards() {
    let cluster = cluster(2, OnOutage::Share);
    let [here, there] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    assert_eq!(here.take(1, 4).source, Source::Authority);
    cluster.set_network(Network::Down);
    // Of 12, 8 are left: 4 for each node.
    let response = here.take(1, 1);
    assert_eq!(
        (response.source, response.switched_to),
        (Source::Fallback, Some(Source::Fallback))
    );
    let answer = response.answer.expect("an answer");
    assert_eq!(
        (answer.binding().1.max, answer.binding().1.remaining),
        (6, 3)
    );
    assert_eq!(here.take(1, 3).switched_to, None);
    assert_eq!(here.take(1, 1).verdict, Verdict::Denied);
    // The other node has no reply about the key, and so its whole share.
    assert_eq!(there.take(1, 6).verdict, Verdict::Allowed);
    assert_eq!(there.take(1, 1).verdict, Verdict::Denied);

    cluster.set_network(Network::Up);
    let response = here.request(1, Op::Peek, 0).expect("a response");
    assert_eq!(
        (response.source, response.switched_to),
        (Source::Authority, Some(Source::Authority))
    );
    assert_eq!(here.remaining(1), 4);
    // Usage above the limit leaves 0.
    assert_eq!(there.remaining(1), 0);
    cluster.advance(Nanos(12 * SECOND.0));
    assert_eq!(here.remaining(1), 12);
    assert_eq!(here.limiter.stats().backlog, 0);
}

#[test]
fn usage_in_an_outage_drains_at_the_rate_of_the_share() {
    let cluster = cluster(2, OnOutage::Share);
    cluster.set_network(Network::Down);
    for node in &cluster.nodes {
        assert_eq!(node.take(1, 6).verdict, Verdict::Allowed);
    }
    // One token a second for all nodes: 2 of its 6 have drained in each.
    cluster.advance(Nanos(4 * SECOND.0));
    for node in &cluster.nodes {
        assert_eq!(node.remaining(1), 2);
    }
    cluster.set_network(Network::Up);
    for node in &cluster.nodes {
        node.remaining(1);
    }
    assert_eq!(cluster.nodes[0].remaining(1), 4);
}

#[test]
fn keys_without_calls_are_reconciled_a_few_at_a_time() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    for id in 0..1_000 {
        node.take(id, 5);
    }
    assert_eq!(node.limiter.stats().backlog, 1_000);
    cluster.set_network(Network::Delayed);
    let before = node.uplink.sent();
    let responses = node.submit(5_000, Op::Take, 1);
    assert_eq!(node.uplink.sent() - before, 1);
    node.uplink.deliver(Network::Up);
    assert_eq!(responses.lock().len(), 1);
    assert_eq!(node.uplink.in_flight(), 32);
    // Meanwhile a call about another key is sent as usual, and starts no second batch.
    let responses = node.submit(5_001, Op::Take, 1);
    assert_eq!(node.uplink.in_flight(), 33);
    while node.uplink.in_flight() > 0 {
        node.uplink.deliver(Network::Up);
        assert!(node.uplink.in_flight() <= 34);
    }
    assert_eq!(responses.lock().len(), 1);
    assert_eq!(
        (node.limiter.stats().backlog, node.limiter.stats().pending),
        (0, 0)
    );
    for id in 0..1_000 {
        let known = cluster.stored(id).expect("a reported key");
        let debt = Nanos(5 * SECOND.0);
        assert_eq!(known.window(1), Some(&Snapshot::Bucket { debt }), "{id}");
    }
}

#[test]
fn keys_whose_usage_has_drained_do_not_delay_the_backlog() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    for id in 0..100 {
        node.take(id, 1);
    }
    node.take(100, 12);
    // The usage of all keys but the last has drained.
    cluster.advance(SECOND);
    cluster.set_network(Network::Up);
    node.sweep();
    assert_eq!(node.limiter.stats().backlog, 0);
    assert_eq!(cluster.stored(0), None);
    let debt = Nanos(11 * SECOND.0);
    let known = cluster.stored(100).expect("a reported key");
    assert_eq!(known.window(1), Some(&Snapshot::Bucket { debt }));
}

#[test]
fn a_sweep_reconciles_without_calls() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    node.take(1, 5);
    node.sweep();
    assert_eq!(node.limiter.stats().backlog, 1);
    cluster.set_network(Network::Up);
    // The report has just failed, so it is not repeated yet.
    node.sweep();
    assert_eq!(cluster.stored(1), None);
    cluster.advance(SECOND);
    node.sweep();
    let debt = Nanos(4 * SECOND.0);
    let known = cluster.stored(1).expect("a reported key");
    assert_eq!(known.window(1), Some(&Snapshot::Bucket { debt }));
}

#[test]
fn lost_data_is_restored_with_the_next_call() {
    let cluster = cluster(2, OnOutage::Share);
    let [here, there] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    here.take(1, 3);
    there.take(1, 4);
    here.take(2, 2);
    cluster.lose_data();
    cluster.lose_data();
    // The node with the last reply knows all usage; the other one knows a part.
    assert_eq!(here.remaining(1), 9);
    assert_eq!(there.remaining(1), 5);
    assert_eq!(here.remaining(1), 5);
    assert_eq!(here.remaining(2), 10);
    // A loss is restored once: a reset afterwards stays.
    here.request(1, Op::Reset, 0);
    assert_eq!(there.remaining(1), 12);
}

#[test]
fn a_reply_from_before_a_loss_does_not_overwrite_the_last_known_state() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    node.take(1, 5);
    node.uplink.set_network(Network::Delayed);
    node.submit(1, Op::Take, 1);
    cluster.lose_data();
    node.uplink.deliver(Network::Up);
    node.uplink.set_network(Network::Up);
    assert_eq!(node.remaining(1), 7);
}

#[test]
fn a_lost_call_is_decided_locally_and_charged() {
    for network in [Network::RequestLost, Network::ReplyLost] {
        let cluster = cluster(1, OnOutage::Share);
        let node = &cluster.nodes[0];
        node.take(1, 4);
        cluster.set_network(network);
        let response = node.take(1, 2);
        assert_eq!(
            (response.verdict, response.source),
            (Verdict::Allowed, Source::Fallback)
        );
        // A single lost call is not an outage.
        assert_eq!(response.switched_to, None);
        cluster.set_network(Network::Up);
        let left = if network == Network::ReplyLost { 4 } else { 6 };
        assert_eq!(node.remaining(1), left);
    }
}

#[test]
fn a_charge_that_is_lost_repeatedly_does_not_lock_a_key() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    node.take(1, 4);
    cluster.set_network(Network::ReplyLost);
    for _ in 0..50 {
        node.request(1, Op::Peek, 0);
    }
    cluster.set_network(Network::Up);
    let denied = node.take(1, 1);
    assert_eq!(denied.verdict, Verdict::Denied);
    cluster.advance(SECOND);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
}

#[test]
fn on_outage_deny_answers_nothing_and_has_no_backlog() {
    let cluster = cluster(1, OnOutage::Deny);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    for op in [Op::Take, Op::Peek, Op::Refund, Op::Reset] {
        let response = node.request(1, op, 1).expect("a response");
        assert_eq!(
            (response.verdict, response.answer),
            (Verdict::Unavailable, None)
        );
    }
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 12);
}

#[test]
fn on_outage_allow_admits_all_and_charges_up_to_the_share() {
    let cluster = cluster(2, OnOutage::Allow);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    for remaining in [2, 0, 0, 0] {
        for op in [Op::Peek, Op::Take] {
            let response = node.request(1, op, 4).expect("a response");
            assert_eq!(response.verdict, Verdict::Allowed);
            // The usage is reported after the call, and without a time to wait.
            let answer = response.answer.expect("what each window says");
            let (_, usage) = answer.binding();
            assert_eq!((usage.remaining, usage.retry), (remaining, Retry::Now));
        }
    }
    assert_eq!(node.take(1, 12).verdict, Verdict::Allowed);
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 6);
}

#[test]
fn on_outage_allow_denies_a_cost_above_the_limit() {
    let cluster = cluster(2, OnOutage::Allow);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    for (op, cost) in [(Op::Peek, 13), (Op::Take, 13), (Op::Take, u64::MAX)] {
        let response = node.request(1, op, cost).expect("a response");
        assert_eq!(response.verdict, Verdict::Denied);
        let answer = response.answer.expect("what each window says");
        assert_eq!(answer.binding().1.retry, Retry::Never);
    }
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 12);
}

#[test]
fn a_node_without_a_share_denies() {
    let limit = [Limit::token_bucket(2, Duration::from_secs(1))];
    let cluster = Cluster::new(&limit, &[0, 0, 0], OnOutage::Share);
    cluster.set_network(Network::Down);
    let admitted: Vec<u64> = cluster
        .nodes
        .iter()
        .map(|node| {
            (0..5)
                .filter(|_| node.take(1, 1).verdict == Verdict::Allowed)
                .count() as u64
        })
        .collect();
    assert_eq!(admitted, [1, 1, 0]);
    let denied = cluster.nodes[2].take(1, 1).answer.expect("an answer");
    assert_eq!(
        (denied.binding().1.max, denied.binding().1.retry),
        (0, Retry::Never)
    );
    let peeked = cluster.nodes[2]
        .request(1, Op::Peek, 0)
        .expect("a response");
    assert_eq!(peeked.verdict, Verdict::Allowed);
}

#[test]
fn a_share_changes_with_the_nodes_and_usage_stays() {
    let cluster = cluster(2, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    node.take(1, 3);
    assert_eq!(node.remaining(1), 3);
    for seconds in [1, 60] {
        node.members.report_at(["0"], Nanos(seconds * SECOND.0));
    }
    assert_eq!(node.remaining(1), 9);
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 9);
}

#[test]
fn a_denial_is_remembered_until_it_ends_or_a_refund() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    node.take(1, 12);
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    let sent = node.uplink.sent();
    cluster.advance(Nanos(SECOND.0 / 4));
    let response = node.take(1, 1);
    assert_eq!(
        (response.verdict, response.source),
        (Verdict::Denied, Source::Authority)
    );
    let answer = response.answer.expect("an answer");
    assert_eq!(
        answer.binding().1.retry,
        Retry::After(Nanos(SECOND.0 / 4 * 3))
    );
    assert_eq!(
        (node.uplink.sent(), node.limiter.stats().cached_denials),
        (sent, 1)
    );
    // Another cost, another scale and a peek are other requests.
    assert_eq!(node.take(1, 2).verdict, Verdict::Denied);
    assert_eq!(node.remaining(1), 0);
    node.limiter.set_scale(Scale::from_ppm(500_000));
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    node.limiter.set_scale(Scale::ONE);
    assert_eq!(node.uplink.sent(), sent + 3);

    node.request(1, Op::Refund, 1);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
    assert_eq!(node.take(1, 1).verdict, Verdict::Denied);
    cluster.advance(SECOND);
    assert_eq!(node.take(1, 1).verdict, Verdict::Allowed);
}

#[test]
fn a_batch_returns_each_response_in_its_place() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    node.take(3, 12);
    node.take(3, 1);
    cluster.set_network(Network::Down);
    let asks = [1, 3, 2].map(|id| (request(id, Op::Take, 1), drop));
    let responses = node.limiter.submit_batch(asks.into()).expect("all windows");
    let decisions: Vec<_> = responses
        .into_iter()
        .map(|response| response.map(|response| (response.verdict, response.source)))
        .collect();
    // The denial is remembered.
    assert_eq!(decisions[0], Some((Verdict::Allowed, Source::Fallback)));
    assert_eq!(decisions[1], Some((Verdict::Denied, Source::Authority)));
    assert_eq!(decisions[2], Some((Verdict::Allowed, Source::Fallback)));
}

#[test]
fn a_local_decision_for_a_caller_that_stops_to_wait_is_charged() {
    let cluster = cluster(2, OnOutage::Share);
    let here = &cluster.nodes[0];
    cluster.set_network(Network::Delayed);
    let late = here.submit(1, Op::Take, 1);
    let response = here
        .limiter
        .decide_locally(request(1, Op::Take, 1))
        .expect("its window");
    assert_eq!(
        (response.verdict, response.source),
        (Verdict::Allowed, Source::Fallback)
    );
    assert!(late.lock().is_empty());
    assert_eq!(here.limiter.stats().pending, 1);
    // Both count: the late call and the local decision.
    cluster.set_network(Network::Up);
    here.uplink.deliver(Network::Up);
    assert_eq!(late.lock().len(), 1);
    assert_eq!(here.remaining(1), 10);
}

#[test]
fn a_repeated_request_id_is_charged_once_in_an_outage() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    let take = || {
        let request_id = RequestId {
            id: (*b"order 7").into(),
            keep: SECOND,
        };
        let request = Request {
            request_id: Some(request_id),
            ..request(1, Op::Take, 5)
        };
        let response = node.limiter.submit(request, drop).expect("all windows");
        response.expect("a response").verdict
    };
    assert_eq!([take(), take(), take()], [Verdict::Allowed; 3]);
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 7);
}

#[test]
fn a_backlog_is_kept_when_its_call_is_lost_after_a_later_reply() {
    let cluster = cluster(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    node.take(1, 4);
    cluster.set_network(Network::Delayed);
    // The first call reports the backlog, so the second one has none to report.
    node.submit(1, Op::Peek, 0);
    node.submit(1, Op::Peek, 0);
    node.uplink.reorder();
    node.uplink.deliver(Network::Up);
    node.uplink.deliver(Network::RequestLost);
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 8);
}

#[test]
fn concurrent_calls_after_an_outage_all_count_the_backlog() {
    let day = Duration::from_hours(24);
    let cluster = Cluster::new(&[Limit::token_bucket(100, day)], &[0], OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    for id in 0..100 {
        node.take(id, 60);
    }
    cluster.set_network(Network::Up);
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
