//! A server that loses its data in an outage.

use std::time::Duration;

use rate_limiter_core::{Clock, Limit};
use rate_limiter_distributed::{Op, Source, Verdict};
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
fn usage_is_restored_after_the_server_was_emptied_while_connected() {
    for limit in limits() {
        let server = Server::start();
        let node = Node::new("a", server.endpoint(), &limit);
        let beat = || {
            node.heartbeat.beat(&node.client).unwrap();
            // Commands are answered in order.
            node.remaining("ann")
        };
        beat();
        until("the node is known", MAX_WAIT, || {
            beat();
            server.run("ZCARD test:{nodes}") == redis::Value::Int(1)
        });
        node.call("ann", Op::Take, 7);
        server.run("FLUSHALL");
        until("the loss is noticed", MAX_WAIT, || beat() == 3);
        assert_eq!(
            node.call("ann", Op::Take, 4).verdict,
            Verdict::Denied,
            "{limit:?}"
        );
        assert_eq!(
            node.call("ann", Op::Take, 3).verdict,
            Verdict::Allowed,
            "{limit:?}"
        );

        // A loss that was noticed once is no loss at each later heartbeat: what was reset stays reset.
        beat();
        node.call("ann", Op::Reset, 0);
        beat();
        assert_eq!(beat(), 10, "{limit:?}");
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
