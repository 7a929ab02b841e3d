//! A cluster of three primaries and three replicas.

use std::time::Duration;

use rate_limiter_redis::Endpoint;
use redis::Value;

use super::process::free_port;
use super::server::{until, Server};

/// How long nodes may take to agree, on a machine that does other things as well.
const AGREE: Duration = Duration::from_mins(1);

/// What each primary has at first.
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

/// The first three are primaries, and each has a replica three places behind it.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let nodes: Vec<_> = (0..6).map(|_| node()).collect();
        for (node, (first, last)) in nodes.iter().zip(SLOTS) {
            node.tell(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        }
        for (number, node) in nodes.iter().enumerate() {
            // Of different age, so that they agree at once on who has what.
            node.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
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
                replica.ask(&replicate).is_ok()
            });
        }
        until("the cluster is up", AGREE, || cluster.is_up());
        cluster
    }

    /// A seventh node, without slots. Returns its number.
    pub(crate) fn join(&mut self) -> usize {
        self.nodes.push(node());
        introduce(&self.nodes);
        let known = || self.all(|node| info(node).contains("cluster_known_nodes:7"));
        until("the nodes know the new one", AGREE, known);
        let number = self.nodes.len() - 1;
        let id = id(&self.nodes[number]);
        let named = || {
            self.all(|node| {
                let nodes: String = redis::from_redis_value(node.tell("CLUSTER NODES")).unwrap();
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

    /// Says of each slot in a range that it goes from one primary to another, but moves nothing yet.
    pub(crate) fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (id(&self.nodes[from]), id(&self.nodes[to]));
        self.nodes[to].tell(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
        self.nodes[from].tell(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
    }

    /// Moves the keys of a slot, some at a time. Returns how many there were.
    pub(crate) fn move_keys(&self, slot: u16, from: usize, to: usize) -> usize {
        let (from, to) = (&self.nodes[from], self.nodes[to].port);
        let Value::Array(keys) = from.tell(&format!("CLUSTER GETKEYSINSLOT {slot} 10")) else {
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

    /// Says that a slot has gone.
    pub(crate) fn end_move(&self, slot: u16, to: usize) {
        let target = id(&self.nodes[to]);
        // First the one that has it now: then nobody is left without.
        let others = (0..3).filter(|number| *number != to);
        for number in std::iter::once(to).chain(others) {
            self.nodes[number].tell(&format!("CLUSTER SETSLOT {slot} NODE {target}"));
        }
    }

    /// Which slot a key lies in.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        let reply = self.nodes[0].tell(&format!("CLUSTER KEYSLOT {key}"));
        redis::from_redis_value(reply).unwrap()
    }

    /// The primary that has a slot at first.
    pub(crate) fn owner(slot: u16) -> usize {
        let has = |(first, last): &(u16, u16)| (*first..=*last).contains(&slot);
        SLOTS.iter().position(has).expect("every slot has an owner")
    }

    /// Kills a primary, and has the others notice soon.
    pub(crate) fn lose(&mut self, primary: usize) {
        self.nodes[primary].kill();
        for number in (0..self.nodes.len()).filter(|number| *number != primary) {
            self.nodes[number].tell("CONFIG SET cluster-node-timeout 2000");
        }
    }

    pub(crate) fn wait_until_promoted(&self, replica: usize) {
        let primary = || match self.nodes[replica].tell("ROLE") {
            Value::Array(role) => role[0] == Value::BulkString(b"master".to_vec()),
            other => panic!("expected a role, got: {other:?}"),
        };
        until("a replica is promoted", AGREE, primary);
    }

    fn is_up(&self) -> bool {
        self.all(|node| {
            let slots = node.tell("CLUSTER SLOTS");
            let replicated = |row: &Value| matches!(row, Value::Array(row) if row.len() == 4);
            let complete =
                matches!(&slots, Value::Array(rows) if rows.len() == 3 && rows.iter().all(replicated));
            complete && info(node).contains("cluster_state:ok")
        })
    }

    fn all(&self, so: impl Fn(&Server) -> bool) -> bool {
        self.nodes.iter().all(so)
    }
}

/// Everybody to everybody: word of mouth takes seconds.
fn introduce(nodes: &[Server]) {
    for node in nodes {
        let bus = port_of_bus(node);
        for other in nodes.iter().filter(|other| other.port != node.port) {
            other.tell(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port));
        }
    }
}

fn node() -> Server {
    let bus = free_port().to_string();
    Server::with(&[
        &["cluster-enabled", "yes"],
        &["cluster-port", &bus],
        // Nobody is given up who only stands still.
        &["cluster-node-timeout", "60000"],
        &["cluster-replica-validity-factor", "0"],
        // A replica counts from the first byte on that it was sent: the first ping, if there is nothing else.
        &["repl-ping-replica-period", "1"],
    ])
}

fn port_of_bus(node: &Server) -> String {
    let reply = node.tell("CONFIG GET cluster-port");
    let (_, port): (String, String) = redis::from_redis_value(reply).unwrap();
    port
}

fn id(node: &Server) -> String {
    redis::from_redis_value(node.tell("CLUSTER MYID")).unwrap()
}

fn info(node: &Server) -> String {
    redis::from_redis_value(node.tell("CLUSTER INFO")).unwrap()
}
