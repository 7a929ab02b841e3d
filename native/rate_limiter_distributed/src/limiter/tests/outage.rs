//! Decisions of nodes that the authority does not answer.

use std::time::Duration;

use proptest::prelude::*;
use rate_limiter_core::{Algorithm, Limit, Nanos, Retry};

use crate::call::{Op, RequestId};
use crate::members::Share;
use crate::options::OnOutage;
use crate::request::{Request, Source, Verdict};

use super::cluster::{request, Cluster, SECOND};
use super::uplink::Network;

#[test]
fn an_outage_continues_from_the_last_known_state_and_is_charged_afterwards() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
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
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
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
fn on_outage_deny_answers_nothing_and_has_no_backlog() {
    let cluster = Cluster::of_buckets(1, OnOutage::Deny);
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
    let cluster = Cluster::of_buckets(2, OnOutage::Allow);
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
    let cluster = Cluster::of_buckets(2, OnOutage::Allow);
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
        (0, Retry::After(SECOND))
    );
    let peeked = cluster.nodes[2]
        .request(1, Op::Peek, 0)
        .expect("a response");
    assert_eq!(peeked.verdict, Verdict::Allowed);
}

#[test]
fn a_share_changes_with_the_nodes_and_usage_stays() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    node.take(1, 3);
    assert_eq!(node.remaining(1), 3);
    for seconds in [1, 60] {
        node.members
            .report_at(1, Share { nodes: 1, rank: 0 }, Nanos(seconds * SECOND.0));
    }
    assert_eq!(node.remaining(1), 9);
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 9);
}

#[test]
fn a_repeated_request_id_is_charged_once_in_an_outage() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
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

proptest! {
    #[test]
    fn a_denial_is_for_ever_only_if_the_authority_would_deny_it_for_ever(
        limits in prop::collection::vec(1_u64..40, 1..4),
        nodes in 1_usize..8,
        cost in 1_u64..50,
    ) {
        let windows: Vec<_> = limits
            .iter()
            .map(|limit| Limit::new(*limit, Duration::from_mins(1), Algorithm::FixedWindow { aligned: false }))
            .collect();
        let cluster = Cluster::new(&windows, &vec![0; nodes], OnOutage::Share);
        cluster.set_network(Network::Down);
        let can_be_met = limits.iter().all(|limit| cost <= *limit);
        for node in &cluster.nodes {
            for op in [Op::Peek, Op::Take] {
                let response = node.request(1, op, cost).expect("a response");
                let retry = response.answer.expect("an answer").binding().1.retry;
                prop_assert_eq!(retry == Retry::Never, !can_be_met);
            }
        }
    }
}
