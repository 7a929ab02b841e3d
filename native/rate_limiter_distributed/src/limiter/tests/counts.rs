//! What a shared limiter counts, by window and by what decided.

use std::time::Duration;

use rate_limiter_core::{Decisions, Limit, Nanos};

use crate::call::Op;
use crate::options::OnOutage;
use crate::stats::SharedWindowStats;

use super::cluster::{request, Cluster, Node, SECOND};
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
fn a_window_in_shadow_mode_counts_what_it_would_deny_also_alone() {
    let limit = Limit::token_bucket(12, Duration::from_secs(12)).enforced(false);
    let cluster = Cluster::new(&[limit], &[0, 0], OnOutage::Share);
    let node = &cluster.nodes[0];
    let would_deny = |response: crate::Response| {
        let answer = response.answer.expect("an answer");
        assert!(answer.allowed());
        let usage = answer.binding().1;
        (
            usage.remaining,
            usage.would_deny(),
            response.receipt.is_some(),
        )
    };
    assert_eq!(would_deny(node.take(1, 12)), (0, false, true));
    assert_eq!(would_deny(node.take(1, 1)), (0, true, false));
    cluster.set_network(Network::Down);
    assert_eq!(would_deny(node.take(2, 6)), (0, false, false));
    assert_eq!(would_deny(node.take(2, 1)), (0, true, false));
    let window = counted(node);
    assert_eq!(window.authority, decisions(2, 0));
    assert_eq!((window.fallback, window.would_deny), (decisions(2, 0), 2));
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

#[test]
fn a_call_whose_caller_did_not_wait_counts_by_the_response_that_it_got() {
    let cluster = Cluster::of_buckets(2, OnOutage::Share);
    let node = &cluster.nodes[0];
    cluster.set_network(Network::Delayed);
    let known = node.limiter.submit(request(1, Op::Take, 1), drop);
    assert!(known.expect("its window").is_none());
    let here = node.limiter.decide_locally(request(1, Op::Take, 1));
    node.limiter.count(&here.expect("its window"));
    node.uplink.deliver(Network::Up);
    let window = counted(node);
    assert_eq!(
        (window.authority, window.fallback),
        (decisions(0, 0), decisions(1, 0))
    );
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
