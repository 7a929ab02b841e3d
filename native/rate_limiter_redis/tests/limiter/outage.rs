//! A server that loses its data in an outage.

use std::time::Duration;

use rate_limiter_core::{Clock, Limit};
use rate_limiter_distributed::{Authority, Op, Source, Verdict};
use rate_limiter_redis::Topology;

use crate::node::{Node, MAX_WAIT};
use crate::servers::{until, Cluster, Server};

/// Long enough that nothing expires during a test.
const DAY: Duration = Duration::from_hours(24);

fn limits() -> [Limit; 4] {
    [
        Limit::token_bucket(10, DAY),
        Limit::sliding_window(10, DAY),
        Limit::sliding_log(10, DAY),
        Limit::fixed_window(10, DAY),
    ]
}

#[test]
fn usage_before_and_during_an_outage_is_restored_after_it() {
    for limit in limits() {
        let mut server = Server::start();
        let node = Node::new("a", server.endpoint(), &limit);
        let response = node.call("ann", Op::Take, 4);
        assert_eq!(response.source, Source::Authority);
        node.call("bob", Op::Take, 1);
        server.kill();
        node.wait_for(Source::Fallback);
        let response = node.call("ann", Op::Take, 3);
        assert_eq!(
            (response.verdict, response.source),
            (Verdict::Allowed, Source::Fallback),
            "{limit:?}"
        );
        node.call("bob", Op::Take, 1);
        assert_eq!(node.call("ann", Op::Take, 4).verdict, Verdict::Denied);

        server.restart();
        node.wait_for(Source::Authority);
        assert_eq!(node.remaining("ann"), 3, "{limit:?}");
        assert_eq!(node.call("ann", Op::Take, 3).verdict, Verdict::Allowed);
        assert_eq!(node.call("ann", Op::Take, 1).verdict, Verdict::Denied);

        // The usage of an id without further calls is reconciled, too: a new node sees it.
        let new_node = Node::new("b", server.endpoint(), &limit);
        until("the backlog is reconciled", MAX_WAIT, || {
            node.limiter.sweep(1_000);
            new_node.remaining("bob") == 8
        });
        assert_eq!(node.limiter.stats().backlog, 0);
    }
}

#[test]
fn usage_that_was_removed_while_connected_is_restored_with_the_next_call() {
    for limit in limits() {
        let server = Server::start();
        let node = Node::new("a", server.endpoint(), &limit);
        for command in [
            "FLUSHALL",
            "EVAL redis.call('DEL',unpack(redis.call('KEYS','*ann*'))) 0",
        ] {
            node.call("ann", Op::Reset, 0);
            node.call("ann", Op::Take, 7);
            let epoch = node.client.epoch();
            server.run(command);
            // The first call finds that it is gone.
            node.call("ann", Op::Take, 1);
            // A log also counts that call, and the others do not know that it is another one.
            let left = node.remaining("ann");
            assert!([2, 3].contains(&left), "{left} of {limit:?}");
            assert_eq!(node.call("ann", Op::Take, 4).verdict, Verdict::Denied);
            assert_eq!(node.client.epoch(), epoch);
        }
    }
}

#[test]
fn usage_is_restored_after_any_shard_was_emptied() {
    let cluster = Cluster::start();
    let topology = Topology::Cluster {
        seeds: cluster.endpoints(),
    };
    let limit = Limit::sliding_window(10, DAY);
    let node = Node::with_topology("a", topology, &limit, Clock::Monotonic);
    node.wait_until_connected();
    let ids: Vec<String> = (0..30).map(|number| format!("id{number}")).collect();
    for id in &ids {
        node.call(id, Op::Take, 4);
    }
    for primary in &cluster.nodes[..3] {
        primary.run("FLUSHALL");
    }
    for id in &ids {
        node.call(id, Op::Take, 1);
        assert_eq!(node.remaining(id), 6);
    }
}

#[test]
fn a_key_that_another_node_reset_stays_reset_when_connections_are_lost() {
    for limit in limits() {
        let server = Server::start();
        let nodes = ["a", "b"].map(|name| Node::new(name, server.endpoint(), &limit));
        let [here, there] = &nodes;
        here.call("ann", Op::Take, 10);
        here.call("bob", Op::Take, 8);
        there.call("ann", Op::Reset, 0);
        there.call("bob", Op::Refund, 5);
        let epoch = here.client.epoch();
        server.run("CLIENT KILL TYPE normal SKIPME yes");
        here.wait_until_connected();
        until("the node is connected again", MAX_WAIT, || {
            here.wait_for(Source::Authority);
            here.client.epoch() > epoch
        });
        assert_eq!(here.remaining("ann"), 10, "{limit:?}");
        assert_eq!(here.remaining("bob"), 7, "{limit:?}");
    }
}

/// Its keys are spread over three servers, so that each call finds another one than the last.
#[test]
fn a_dead_shard_is_one_outage_and_a_promoted_replica_ends_it() {
    let mut cluster = Cluster::start();
    let topology = Topology::Cluster {
        seeds: cluster.endpoints(),
    };
    let limit = Limit::fixed_window(1_000_000, DAY);
    let node = Node::with_topology("a", topology, &limit, Clock::Monotonic);
    node.wait_until_connected();
    let mut changes = Vec::new();
    let mut call = |number: usize| {
        let response = node.call(&format!("id{}", number % 60), Op::Take, 1);
        changes.extend(response.switched_to);
        response.source
    };
    assert!((0..60).all(|number| call(number) == Source::Authority));
    for other in 1..6 {
        cluster.nodes[other].run("CONFIG SET cluster-require-full-coverage no");
    }
    cluster.lose(0);
    let mut answers = (0, 0);
    for number in 0..3_000 {
        match call(number) {
            Source::Authority => answers.0 += 1,
            Source::Fallback => answers.1 += 1,
        }
    }
    assert!(answers.0 > 500 && answers.1 > 100, "{answers:?}");
    cluster.wait_until_promoted(3);
    let mut number = 0;
    until("the limiter is back", MAX_WAIT, || {
        number += 1;
        call(number);
        !node.limiter.stats().away
    });
    // An outage more, if the cluster refuses calls while it votes.
    assert!(changes.len() <= 4 && changes.len() % 2 == 0, "{changes:?}");
    let expected = [Source::Fallback, Source::Authority];
    assert!(
        changes.chunks(2).all(|pair| pair == expected),
        "{changes:?}"
    );
}
