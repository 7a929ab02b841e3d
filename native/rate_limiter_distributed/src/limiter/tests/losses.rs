//! Calls, replies and data that are lost.

use rate_limiter_core::Nanos;

use crate::call::Op;
use crate::options::OnOutage;
use crate::request::{Source, Verdict};

use super::cluster::{Cluster, SECOND};
use super::uplink::Network;

#[test]
fn lost_data_is_restored_with_the_next_call() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
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
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
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
        let cluster = Cluster::of_buckets(1, OnOutage::Share);
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
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
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
fn a_backlog_is_kept_when_its_call_is_lost_after_a_later_reply() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
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
fn a_reset_or_refund_by_another_node_stays_over_a_reconnection() {
    for (op, cost, left) in [(Op::Reset, 0, 12), (Op::Refund, 4, 10)] {
        let cluster = Cluster::of_buckets(2, OnOutage::Share);
        let [here, there] = &cluster.nodes[..] else {
            panic!("two nodes")
        };
        cluster.reconnect();
        here.take(1, 6);
        cluster.advance(Nanos(1));
        there.request(1, op, cost);
        cluster.reconnect();
        assert_eq!(here.remaining(1), left, "{op:?}");
        // It is no state of this node any more.
        cluster.reconnect();
        assert_eq!(here.remaining(1), left, "{op:?}");
        // What a node has heard since, it restores.
        here.take(1, 1);
        cluster.lose_data();
        assert_eq!(here.remaining(1), left - 1, "{op:?}");
    }
}

#[test]
fn what_was_admitted_in_an_outage_before_a_reset_ends_with_it() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let [here, there] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    cluster.set_network(Network::Down);
    here.take(1, 3);
    here.take_named(1, "a", 2);
    there.uplink.set_network(Network::Up);
    cluster.advance(Nanos(1));
    there.request(1, Op::Reset, 0);
    cluster.set_network(Network::Up);
    assert_eq!(here.remaining(1), 12);
    // Unless this node was still alone when it was made.
    cluster.set_network(Network::Down);
    here.take(1, 3);
    cluster.advance(Nanos(1));
    here.take(2, 1);
    there.uplink.set_network(Network::Up);
    there.request(1, Op::Reset, 0);
    cluster.set_network(Network::Up);
    assert_eq!(here.remaining(1), 9);
}

#[test]
fn a_key_that_the_server_has_lost_is_restored_with_the_next_call() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let [here, there] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    here.take(1, 6);
    there.take(2, 1);
    cluster.advance(Nanos(1));
    cluster.forget();
    // A node that has never asked knows nothing.
    assert_eq!(there.remaining(1), 12);
    assert_eq!(here.take(1, 1).verdict, Verdict::Allowed);
    assert_eq!(here.remaining(1), 6);
    assert_eq!(there.remaining(1), 6);
    // A unit may be missing, since stores round differently.
    assert_eq!(there.remaining(2), 12);
}

#[test]
fn usage_that_another_node_has_lowered_is_not_restored() {
    for (op, cost, left) in [(Op::Reset, 0, 12), (Op::Refund, 4, 10)] {
        let cluster = Cluster::of_buckets(2, OnOutage::Share);
        let [here, there] = &cluster.nodes[..] else {
            panic!("two nodes")
        };
        here.take(1, 6);
        cluster.advance(Nanos(1));
        there.request(1, op, cost);
        for _ in 0..3 {
            assert_eq!(here.remaining(1), left, "{op:?}");
        }
    }
}
