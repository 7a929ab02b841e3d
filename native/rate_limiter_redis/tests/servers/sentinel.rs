//! A primary with a replica, and three sentinels that watch over them.

use std::time::Duration;

use rate_limiter_redis::Endpoint;
use redis::Value;

use super::server::{until, Server};

/// How long a failover may take, on a machine that does other things as well: a sentinel that stood still for two
/// seconds does nothing for half a minute.
const FAILOVER: Duration = Duration::from_mins(2);

pub(crate) struct Sentinel {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    sentinels: Vec<Server>,
}

impl Sentinel {
    /// The name by which the sentinels know the group.
    pub(crate) const GROUP: &str = "limits";

    pub(crate) fn start() -> Self {
        let primary = Server::start();
        let port = primary.port.to_string();
        let replica = Server::with(&[&["replicaof", "127.0.0.1", &port]]);
        let linked = || contains(&replica.tell("INFO replication"), "master_link_status:up");
        until("the replica follows", FAILOVER, linked);
        let sentinels: Vec<_> = (0..3).map(|_| watch(primary.port)).collect();
        let group = Self {
            primary,
            replica,
            sentinels,
        };
        until("the sentinels know all", FAILOVER, || group.is_known());
        group
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.sentinels.iter().map(Server::endpoint).collect()
    }

    /// The port of the primary, as most sentinels know it.
    pub(crate) fn known_primary(&self) -> u16 {
        let ask = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {}", Self::GROUP);
        let reply = self.sentinels[0].tell(&ask);
        let (_, port): (String, u16) = redis::from_redis_value(reply).unwrap();
        port
    }

    /// Has the sentinels promote the replica while the primary is well.
    pub(crate) fn fail_over(&self) {
        // It is refused while the sentinel has not heard from the replica for a moment.
        let failover = format!("SENTINEL FAILOVER {}", Self::GROUP);
        until("a sentinel begins the failover", FAILOVER, || {
            self.sentinels[0].ask(&failover).is_ok()
        });
        self.wait_until_promoted();
    }

    /// Kills the primary, and has the sentinels notice soon.
    pub(crate) fn lose_primary(&mut self) {
        self.primary.kill();
        for sentinel in &self.sentinels {
            // One that fails is tried again after two timeouts.
            set(sentinel, "failover-timeout", 2_000);
            set(sentinel, "down-after-milliseconds", 500);
        }
        self.wait_until_promoted();
    }

    fn wait_until_promoted(&self) {
        let promoted = || {
            self.known_primary() == self.replica.port
                && contains(&self.replica.tell("INFO replication"), "role:master")
        };
        until("the replica is promoted", FAILOVER, promoted);
    }

    fn is_known(&self) -> bool {
        self.sentinels.iter().all(|sentinel| {
            let info = sentinel.tell("INFO sentinel");
            contains(&info, "status=ok") && contains(&info, "slaves=1,sentinels=3")
        })
    }
}

fn watch(primary: u16) -> Server {
    // A sentinel writes what it learns into its file.
    let sentinel = Server::as_sentinel();
    let group = Sentinel::GROUP;
    sentinel.tell(&format!("SENTINEL MONITOR {group} 127.0.0.1 {primary} 2"));
    // Nobody is given up who only stands still, and no promotion that takes its time.
    set(&sentinel, "down-after-milliseconds", 60_000);
    set(&sentinel, "failover-timeout", 60_000);
    sentinel
}

fn set(sentinel: &Server, name: &str, value: u32) {
    let group = Sentinel::GROUP;
    sentinel.tell(&format!("SENTINEL SET {group} {name} {value}"));
}

fn contains(reply: &Value, text: &str) -> bool {
    match reply {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).contains(text),
        _ => false,
    }
}
