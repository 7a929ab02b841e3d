//! A call with a name is charged once, over lost replies and outages.

use crate::authority::Failure;
use crate::call::Op;
use crate::options::OnOutage;
use crate::request::{Source, Verdict};

use super::cluster::{named, Cluster};
use super::uplink::Network;

#[test]
fn a_call_that_the_fallback_admitted_is_charged_once_when_it_is_repeated() {
    for on_outage in [OnOutage::Share, OnOutage::Allow] {
        let cluster = Cluster::of_buckets(1, on_outage);
        let node = &cluster.nodes[0];
        node.take(1, 2);
        cluster.set_network(Network::Down);
        for _ in 0..2 {
            let response = node.take_named(1, "a", 3).expect("a response");
            assert_eq!(
                (response.verdict, response.source),
                (Verdict::Allowed, Source::Fallback)
            );
        }
        node.take(1, 1);
        cluster.set_network(Network::Up);
        for _ in 0..2 {
            let response = node.take_named(1, "a", 3).expect("a response");
            assert_eq!(
                (response.verdict, response.source),
                (Verdict::Allowed, Source::Authority)
            );
            assert_eq!(node.remaining(1), 12 - 6, "{on_outage:?}");
        }
    }
}

#[test]
fn a_call_whose_reply_was_lost_and_that_the_fallback_admitted_is_charged_once() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::ReplyLost);
    let response = node.take_named(1, "a", 3).expect("a response");
    assert_eq!(response.source, Source::Fallback);
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 12 - 3);
    // It is late, and was decided here meanwhile.
    cluster.set_network(Network::Delayed);
    let late = node.submit_request(named(1, "b", 2));
    let here = node
        .limiter
        .decide_locally(named(1, "b", 2))
        .expect("its window");
    assert_eq!(here.source, Source::Fallback);
    cluster.set_network(Network::Up);
    node.uplink.deliver(Network::Up);
    assert_eq!(late.lock().len(), 1);
    assert_eq!(node.remaining(1), 12 - 5);
}

#[test]
fn a_report_whose_reply_was_lost_is_charged_once() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    node.take_named(1, "a", 3);
    for network in [Network::ReplyLost, Network::RequestLost, Network::ReplyLost] {
        cluster.set_network(network);
        node.request(1, Op::Peek, 0);
    }
    cluster.set_network(Network::Up);
    assert_eq!(node.remaining(1), 12 - 3);
    assert_eq!(
        node.take_named(1, "a", 3).expect("a response").source,
        Source::Authority
    );
    assert_eq!(node.remaining(1), 12 - 3);
}

#[test]
fn a_call_that_two_nodes_admitted_is_charged_once() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let [one, other] = [&cluster.nodes[0], &cluster.nodes[1]];
    cluster.set_network(Network::Down);
    one.take_named(1, "a", 3);
    other.take_named(1, "a", 3);
    cluster.set_network(Network::Up);
    assert_eq!(
        other.take_named(1, "a", 3).expect("a response").source,
        Source::Authority
    );
    assert_eq!(other.remaining(1), 12 - 3);
    one.sweep();
    assert_eq!(one.remaining(1), 12 - 3);
}

#[test]
fn a_call_without_a_name_is_charged_beside_one_with_a_name() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
    let node = &cluster.nodes[0];
    node.take_named(1, "a", 3);
    cluster.set_network(Network::Down);
    node.take_named(1, "a", 3);
    node.take(1, 2);
    let lost = node.limiter.decide_locally(named(1, "c", 1));
    assert!(lost.is_ok_and(|response| response.verdict == Verdict::Allowed));
    cluster.set_network(Network::Up);
    node.sweep();
    assert_eq!(node.remaining(1), 12 - 6);
    let _ = Failure::Away;
}
