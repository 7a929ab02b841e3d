//! What a shared limiter counts, by window and by what decided.

use rate_limiter_core::{Decisions, Nanos};

use crate::call::Op;
use crate::options::OnOutage;
use crate::stats::SharedWindowStats;

use super::cluster::{Cluster, Node, SECOND};
use super::uplink::Network;

fn counted(node: &Node) -> SharedWindowStats {
    node.limiter.stats().windows[0]
}

fn decisions(allowed: u64, denied: u64) -> Decisions {
    Decisions { allowed, denied }
}

#[test]
fn requests_to_take_count_by_what_decided_them() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let node = &cluster.nodes[0];
    node.take(1, 12);
    node.take(1, 1);
    // From memory.
    node.take(1, 1);
    node.request(1, Op::Peek, 1);
    node.request(1, Op::Refund, 0);
    assert_eq!(counted(node).authority, decisions(1, 2));
    cluster.set_network(Network::Down);
    node.take(2, 6);
    node.take(2, 1);
    node.request(2, Op::Peek, 1);
    let window = counted(node);
    assert_eq!(
        (window.authority, window.fallback),
        (decisions(1, 2), decisions(1, 1))
    );
    assert_eq!((window.tag, window.unavailable), (1, 0));
}

#[test]
fn requests_without_an_answer_count_as_unavailable() {
    let cluster = Cluster::of_buckets(1, OnOutage::Deny);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Down);
    node.take(1, 1);
    node.request(1, Op::Peek, 1);
    let window = counted(node);
    assert_eq!((window.fallback, window.unavailable), (decisions(0, 0), 1));
}

/// The threshold of these nodes is 80 %: 10 of the 12 tokens.
#[test]
fn a_key_passes_the_threshold_once_a_period_on_a_node() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let [here, there] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    assert!(here.take(1, 9).passed.is_empty());
    assert_eq!(there.take(1, 1).passed, [1]);
    assert!(here.take(1, 1).passed.is_empty());
    // It falls below, and passes again within the period.
    cluster.advance(Nanos(2 * SECOND.0));
    assert!(there.take(1, 1).passed.is_empty());
    cluster.advance(Nanos(12 * SECOND.0));
    assert_eq!(there.take(1, 10).passed, [1]);
    assert_eq!((counted(here).passed, counted(there).passed), (0, 2));
}
