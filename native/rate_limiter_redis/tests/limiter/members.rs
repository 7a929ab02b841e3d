//! The nodes that share the limits.

use std::time::Duration;

use rate_limiter_core::Limit;
use rate_limiter_distributed::Share;

use crate::node::{Node, MAX_WAIT};
use crate::servers::{until, Server};

fn node(name: &str, server: &Server) -> Node {
    let limit = Limit::token_bucket(10, Duration::from_hours(1));
    Node::new(name, server.endpoint(), &limit)
}

fn beat_until(node: &Node, nodes: u32, rank: u32) {
    until("the node has this share", MAX_WAIT, || {
        node.heartbeat.beat(&node.client).unwrap();
        node.members.share() == Share { nodes, rank }
    });
}

#[test]
fn nodes_share_the_limits_until_they_leave_or_stop_their_heartbeats() {
    let server = Server::start();
    let (first, second) = (node("a", &server), node("b", &server));
    beat_until(&first, 1, 0);
    beat_until(&second, 2, 1);
    beat_until(&first, 2, 0);

    // One heartbeat is old, one was recorded by a server whose clock was ahead.
    server.run("ZADD test:{nodes} 1000 0silent");
    server.run("ZADD test:{nodes} 99999999999999 0ahead");
    until("those two are removed", MAX_WAIT, || {
        second.heartbeat.beat(&second.client).unwrap();
        server.run("ZCARD test:{nodes}") == redis::Value::Int(2)
    });
    beat_until(&second, 2, 1);

    first.heartbeat.leave(&first.client).unwrap();
    // Not after a single reply without the other node: a server that lost its data lists no nodes.
    second.heartbeat.beat(&second.client).unwrap();
    assert_eq!(second.members.share(), Share { nodes: 2, rank: 1 });
    beat_until(&second, 1, 0);
    // A share does not grow during an outage.
    let mut server = server;
    server.kill();
    let _ = second.heartbeat.beat(&second.client);
    assert_eq!(second.members.share(), Share { nodes: 1, rank: 0 });
}

#[test]
fn the_set_of_nodes_expires_without_heartbeats() {
    let server = Server::start();
    let node = node("a", &server);
    beat_until(&node, 1, 0);
    let expires = || {
        let expiry = server.run("PTTL test:{nodes}");
        matches!(expiry, redis::Value::Int(1..=15_000))
    };
    until("the set has a time to live", MAX_WAIT, expires);
}
