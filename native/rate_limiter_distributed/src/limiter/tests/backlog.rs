//! The report of keys that were used in an outage.

use std::time::Duration;

use rate_limiter_core::{Limit, Nanos, Snapshot};

use crate::call::Op;
use crate::options::OnOutage;
use crate::request::Verdict;

use super::cluster::{Cluster, SECOND};
use super::uplink::Network;

#[test]
fn keys_without_calls_are_reconciled_a_few_at_a_time() {
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
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
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
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
    let cluster = Cluster::of_buckets(1, OnOutage::Share);
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
