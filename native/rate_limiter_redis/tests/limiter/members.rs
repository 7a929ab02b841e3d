//! Who shares the limits.

use std::time::Duration;

use rate_limiter_core::Limit;
use rate_limiter_distributed::Share;

use crate::node::{Node, PATIENCE};
use crate::servers::{until, Server};

fn node(name: &str, server: &Server) -> Node {
    let limit = Limit::token_bucket(10, Duration::from_hours(1));
    Node::new(name, server.endpoint(), &limit)
}

fn beat_until(node: &Node, nodes: u32, rank: u32) {
    until("the node hears who is there", PATIENCE, || {
        node.heartbeat.beat(&node.client).unwrap();
        node.members.share() == Share { nodes, rank }
    });
}

#[test]
fn nodes_hear_of_each_other_until_they_leave_or_fall_silent() {
    let server = Server::start();
    let (first, second) = (node("a", &server), node("b", &server));
    beat_until(&first, 1, 0);
    beat_until(&second, 2, 1);
    beat_until(&first, 2, 0);

    // One was heard long ago, one by a server whose clock was ahead.
    server.run("ZADD test:{nodes} 1000 0silent");
    server.run("ZADD test:{nodes} 99999999999999 0ahead");
    until("those two are forgotten", PATIENCE, || {
        second.heartbeat.beat(&second.client).unwrap();
        server.run("ZCARD test:{nodes}") == redis::Value::Int(2)
    });
    beat_until(&second, 2, 1);

    first.heartbeat.leave(&first.client).unwrap();
    // Not because they are heard no more once: a server that has lost its data has heard of nobody.
    second.heartbeat.beat(&second.client).unwrap();
    assert_eq!(second.members.share(), Share { nodes: 2, rank: 1 });
    beat_until(&second, 1, 0);
    // Nobody's share grows by an outage.
    let mut server = server;
    server.kill();
    let _ = second.heartbeat.beat(&second.client);
    assert_eq!(second.members.share(), Share { nodes: 1, rank: 0 });
}

#[test]
fn what_is_written_goes_when_all_are_silent() {
    let server = Server::start();
    let node = node("a", &server);
    beat_until(&node, 1, 0);
    let expires = || {
        let expiry = server.run("PTTL test:{nodes}");
        matches!(expiry, redis::Value::Int(1..=15_000))
    };
    until("it is written, and has a time to live", PATIENCE, expires);
}
