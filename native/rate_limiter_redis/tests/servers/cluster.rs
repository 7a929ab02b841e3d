//! A cluster of three primaries and three replicas.

use std::time::Duration;

use rate_limiter_redis::Endpoint;
use redis::Value;

use super::process::free_port;
use super::server::{until, Server};

/// The maximum time for the nodes to agree, on a busy machine.
const AGREE: Duration = Duration::from_mins(1);

/// The initial slots of each primary.
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

/// The first three nodes are primaries. Each has a replica three places after it.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let nodes: Vec<_> = (0..6).map(|_| node()).collect();
        for (node, (first, last)) in nodes.iter().zip(SLOTS) {
            node.run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        }
        for (number, node) in nodes.iter().enumerate() {
            // Different epochs, so that the nodes agree on the owners at once.
            node.run(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        introduce(&nodes);
        let cluster = Self { nodes };
        until("the nodes know each other", AGREE, || {
            cluster.all(|node| info(node).contains("cluster_known_nodes:6"))
        });
        for (primary, replica) in cluster.nodes[..3].iter().zip(&cluster.nodes[3..]) {
            let id = id(primary);
            let replicate = format!("CLUSTER REPLICATE {id}");
            until("a replica knows its primary", AGREE, || {
                replica.try_run(&replicate).is_ok()
            });
        }
        until("the cluster is up", AGREE, || cluster.is_up());
        cluster
    }

    /// Adds a seventh node, without slots. Returns its number.
    pub(crate) fn join(&mut self) -> usize {
        self.nodes.push(node());
        introduce(&self.nodes);
        let known = || self.all(|node| info(node).contains("cluster_known_nodes:7"));
        until("the nodes know the new one", AGREE, known);
        let number = self.nodes.len() - 1;
        let id = id(&self.nodes[number]);
        let named = || {
            self.all(|node| {
                let nodes: String = redis::from_redis_value(node.run("CLUSTER NODES")).unwrap();
                nodes.contains(&id) && !nodes.contains("handshake")
            })
        };
        until("the nodes know it by name", AGREE, named);
        let up = || self.all(|node| info(node).contains("cluster_state:ok"));
        until("the new node is up", AGREE, up);
        number
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.nodes.iter().map(Server::endpoint).collect()
    }

    /// Starts to move a slot from one primary to another, without its keys.
    pub(crate) fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (id(&self.nodes[from]), id(&self.nodes[to]));
        self.nodes[to].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
        self.nodes[from].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
    }

    /// Moves up to ten keys of a slot. Returns their number.
    pub(crate) fn move_keys(&self, slot: u16, from: usize, to: usize) -> usize {
        let (from, to) = (&self.nodes[from], self.nodes[to].port);
        let Value::Array(keys) = from.run(&format!("CLUSTER GETKEYSINSLOT {slot} 10")) else {
            panic!("expected keys");
        };
        for key in &keys {
            let key: Vec<u8> = redis::from_redis_value(key.clone()).unwrap();
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(to).arg(key).arg(0).arg(10_000);
            from.command(&migrate).unwrap();
        }
        keys.len()
    }

    /// Ends the move of a slot.
    pub(crate) fn end_move(&self, slot: u16, to: usize) {
        let target = id(&self.nodes[to]);
        // The new owner first, so that the slot always has one.
        let others = (0..3).filter(|number| *number != to);
        for number in std::iter::once(to).chain(others) {
            self.nodes[number].run(&format!("CLUSTER SETSLOT {slot} NODE {target}"));
        }
    }

    /// Returns the slot of a key.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        let reply = self.nodes[0].run(&format!("CLUSTER KEYSLOT {key}"));
        redis::from_redis_value(reply).unwrap()
    }

    /// Returns the initial owner of a slot.
    pub(crate) fn owner(slot: u16) -> usize {
        let has = |(first, last): &(u16, u16)| (*first..=*last).contains(&slot);
        SLOTS.iter().position(has).expect("every slot has an owner")
    }

    /// Kills a primary, and shortens the timeouts of the other nodes.
    pub(crate) fn lose(&mut self, primary: usize) {
        self.nodes[primary].kill();
        for number in (0..self.nodes.len()).filter(|number| *number != primary) {
            self.nodes[number].run("CONFIG SET cluster-node-timeout 2000");
        }
    }

    pub(crate) fn wait_until_promoted(&self, replica: usize) {
        let primary = || match self.nodes[replica].run("ROLE") {
            Value::Array(role) => role[0] == Value::BulkString(b"master".to_vec()),
            other => panic!("expected a role, got: {other:?}"),
        };
        until("a replica is promoted", AGREE, primary);
    }

    fn is_up(&self) -> bool {
        self.all(|node| {
            let slots = node.run("CLUSTER SLOTS");
            let replicated = |row: &Value| matches!(row, Value::Array(row) if row.len() == 4);
            let complete =
                matches!(&slots, Value::Array(rows) if rows.len() == 3 && rows.iter().all(replicated));
            complete && info(node).contains("cluster_state:ok")
        })
    }

    fn all(&self, holds: impl Fn(&Server) -> bool) -> bool {
        self.nodes.iter().all(holds)
    }
}

/// Introduces each node to each other one, since gossip takes seconds.
fn introduce(nodes: &[Server]) {
    for node in nodes {
        let bus = bus_port(node);
        for other in nodes.iter().filter(|other| other.port != node.port) {
            other.run(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port));
        }
    }
}

fn node() -> Server {
    let bus = free_port().to_string();
    Server::with(&[
        &["cluster-enabled", "yes"],
        &["cluster-port", &bus],
        // A long timeout, so that a slow machine causes no failover.
        &["cluster-node-timeout", "60000"],
        &["cluster-replica-validity-factor", "0"],
        // A replica is listed once it has received data, which is a ping if nothing is written.
        &["repl-ping-replica-period", "1"],
    ])
}

fn bus_port(node: &Server) -> String {
    let reply = node.run("CONFIG GET cluster-port");
    let (_, port): (String, String) = redis::from_redis_value(reply).unwrap();
    port
}

fn id(node: &Server) -> String {
    redis::from_redis_value(node.run("CLUSTER MYID")).unwrap()
}

fn info(node: &Server) -> String {
    redis::from_redis_value(node.run("CLUSTER INFO")).unwrap()
}
