//! The nodes that share the limits.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Duration;

use rate_limiter_core::Limit;
use rate_limiter_distributed::{Members, Share};
use rate_limiter_redis::{Client, Command, Heartbeat};
use redis::Value;

use crate::node::{Node, MAX_WAIT};
use crate::servers::{until, Server};

fn node(name: &str, server: &Server) -> Node {
    let limit = Limit::token_bucket(10, Duration::from_hours(1));
    Node::new(name, server.endpoint(), &limit)
}

fn beat_until(node: &Node, nodes: u32, rank: u32) {
    until("the node has this share", MAX_WAIT, || {
        node.heartbeat.beat(&node.client).unwrap();
        node.members.share() == Share { nodes, rank } && node.members.nodes() == nodes
    });
}

/// A member without a limiter. Several share a client.
struct Member {
    members: Arc<Members>,
    heartbeat: Heartbeat,
}

impl Member {
    fn new(name: &str, least: u32, keep: Duration) -> Self {
        let members = Arc::new(Members::new(name, least, keep));
        Self {
            heartbeat: Heartbeat::new("test", Arc::clone(&members)),
            members,
        }
    }

    /// Sends a heartbeat, and waits until it and those that follow from it are answered.
    fn beat(&self, client: &Arc<Client>) {
        self.heartbeat.beat(client).unwrap();
        settle(client);
    }
}

/// Waits for the replies to all commands, and to those that follow from them.
fn settle(client: &Client) {
    for _ in 0..8 {
        let (replies, reply) = channel();
        let command = Command {
            key: Arc::from(*b"test:{nodes}"),
            words: vec![b"PING".to_vec()],
        };
        let done = Box::new(move |_| replies.send(()).unwrap());
        client.command(command, done).unwrap();
        reply.recv_timeout(MAX_WAIT).unwrap();
    }
}

const KEEP: Duration = Duration::from_secs(15);

fn assert_within<'a>(members: &(impl Iterator<Item = &'a Member> + Clone), step: usize) {
    for limit in (1..60).chain([1_000, 1_000_003]) {
        let shares = members.clone().map(|member| member.members.share());
        let sum: u64 = shares.clone().map(|share| share.of(limit)).sum();
        assert!(
            sum <= limit,
            "step {step}: {sum} of {limit}, {:?}",
            shares.collect::<Vec<_>>()
        );
    }
}

#[test]
fn shares_stay_within_the_limit_while_nodes_join_leave_crash_and_restart() {
    let server = Server::start();
    let client = node("the client", &server).client;
    for seed in 1..=6_u64 {
        server.run("DEL test:{nodes}");
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) % below
        };
        let mut live: BTreeMap<u64, Member> = BTreeMap::new();
        for step in 0..200 {
            let name = random(7);
            match (random(10), live.contains_key(&name)) {
                // A node that joins has heard nothing, so it counts from its first reply on.
                (0..=1, false) => {
                    let member = Member::new(&format!("n{name}"), 1, KEEP);
                    member.beat(&client);
                    live.insert(name, member);
                }
                // Without a farewell: its share stays its own. If it restarts, that replaces its former self.
                (2, true) => drop(live.remove(&name)),
                (3, true) => {
                    let left = live.remove(&name).unwrap();
                    left.heartbeat.leave(&client).unwrap();
                    settle(&client);
                }
                (_, true) => live[&name].beat(&client),
                _ => {}
            }
            assert_within(&live.values(), step);
        }
        // The last ones get the whole limit again.
        let names: Vec<_> = live.keys().copied().collect();
        for silent in (0..7).filter(|name| !names.contains(name)) {
            let ended = Member::new(&format!("n{silent}"), 1, KEEP);
            ended.beat(&client);
            ended.heartbeat.leave(&client).unwrap();
        }
        until("the shares add up to the limit", MAX_WAIT, || {
            for member in live.values() {
                member.beat(&client);
            }
            assert_within(&live.values(), usize::MAX);
            let shares = live.values().map(|member| member.members.share().of(13));
            live.is_empty() || shares.sum::<u64>() == 13
        });
    }
}

#[test]
fn nodes_share_the_limits_until_they_leave_or_stop_their_heartbeats() {
    let server = Server::start();
    let (first, second) = (node("a", &server), node("b", &server));
    beat_until(&first, 1, 0);
    second.heartbeat.beat(&second.client).unwrap();
    settle(&second.client);
    // The second one gets a part only after the first has given up its own.
    assert_eq!(second.members.share(), Share::NONE);
    assert_eq!(second.members.nodes(), 2);
    until("both have their shares", MAX_WAIT, || {
        for node in [&first, &second] {
            node.heartbeat.beat(&node.client).unwrap();
        }
        let settled = [&first, &second].map(|node| node.members.is_settled());
        settled == [true; 2]
    });
    beat_until(&second, 2, 1);
    beat_until(&first, 2, 0);

    // One heartbeat is old, one was recorded by a server whose clock was ahead.
    server.run("ZADD test:{nodes} 1000 0silent");
    server.run("ZADD test:{nodes} 99999999999999 0ahead");
    until("those two are removed", MAX_WAIT, || {
        second.heartbeat.beat(&second.client).unwrap();
        server.run("ZCARD test:{nodes}") == Value::Int(2)
    });
    beat_until(&second, 2, 1);

    first.heartbeat.leave(&first.client).unwrap();
    settle(&first.client);
    // Not after a single reply without the other node: a server that lost its data lists no nodes.
    second.heartbeat.beat(&second.client).unwrap();
    settle(&second.client);
    assert_eq!(second.members.share(), Share { nodes: 2, rank: 1 });
    beat_until(&second, 1, 0);
    // A share does not grow during an outage.
    let mut server = server;
    server.kill();
    let _ = second.heartbeat.beat(&second.client);
    assert_eq!(second.members.share(), Share { nodes: 1, rank: 0 });
}

#[test]
fn two_live_nodes_of_one_name_are_two_nodes() {
    let server = Server::start();
    let client = node("the client", &server).client;
    let twins = [(); 2].map(|()| Member::new("twin", 1, KEEP));
    until("each has a half", MAX_WAIT, || {
        for twin in &twins {
            twin.beat(&client);
        }
        let mut shares = twins.each_ref().map(|twin| twin.members.share().of(10));
        shares.sort_unstable();
        shares == [5, 5]
    });
}

#[test]
fn the_configured_number_of_nodes_is_the_least_among_which_a_limit_is_divided() {
    let server = Server::start();
    let client = node("the client", &server).client;
    let member = Member::new("a", 4, KEEP);
    assert_eq!(member.members.share().of(1_000), 250);
    member.beat(&client);
    assert_eq!(member.members.nodes(), 4);
    until("the number is believed", MAX_WAIT, || {
        member.beat(&client);
        member.members.nodes() == 1
    });
    assert_eq!(member.members.share().of(1_000), 250);
    assert!(member.members.is_settled());
}

#[test]
fn heartbeats_that_are_refused_are_a_problem_until_they_are_accepted() {
    let server = Server::start();
    let client = node("the client", &server).client;
    let member = Member::new("a", 1, KEEP);
    server.run("SET test:{nodes} other");
    member.beat(&client);
    let problem = member.heartbeat.problem().expect("a problem");
    assert!(problem.contains("WRONGTYPE"), "{problem}");
    server.run("DEL test:{nodes}");
    member.beat(&client);
    assert_eq!(member.heartbeat.problem(), None);
}

#[test]
fn the_set_of_nodes_expires_without_heartbeats() {
    let server = Server::start();
    let node = node("a", &server);
    beat_until(&node, 1, 0);
    let expires = || {
        let expiry = server.run("PTTL test:{nodes}");
        matches!(expiry, Value::Int(1..=15_000))
    };
    until("the set has a time to live", MAX_WAIT, expires);
}
