//! A primary with a replica, and three Sentinels that monitor them.

use std::time::Duration;

use rate_limiter_redis::Endpoint;
use redis::Value;

use super::server::{until, Server};

/// The maximum time for a failover on a busy machine: a Sentinel that was suspended for two seconds takes no part for
/// half a minute.
const FAILOVER: Duration = Duration::from_mins(2);

pub(crate) struct Sentinel {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    sentinels: Vec<Server>,
}

impl Sentinel {
    /// The name of the primary in the Sentinels' configuration.
    pub(crate) const GROUP: &str = "limits";

    pub(crate) fn start() -> Self {
        let primary = Server::start();
        let port = primary.port.to_string();
        let replica = Server::with(&[&["replicaof", "127.0.0.1", &port]]);
        let linked = || contains(&replica.run("INFO replication"), "master_link_status:up");
        until("the replica follows", FAILOVER, linked);
        let sentinels: Vec<_> = (0..3).map(|_| monitor(primary.port)).collect();
        let group = Self {
            primary,
            replica,
            sentinels,
        };
        until(
            "the Sentinels know each other and the replica",
            FAILOVER,
            || group.is_known(),
        );
        group
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.sentinels.iter().map(Server::endpoint).collect()
    }

    /// Returns the port of the primary that the first Sentinel names.
    pub(crate) fn known_primary(&self) -> u16 {
        let query = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {}", Self::GROUP);
        let reply = self.sentinels[0].run(&query);
        let (_, port): (String, u16) = redis::from_redis_value(reply).unwrap();
        port
    }

    /// Requests a failover while the primary is up.
    pub(crate) fn fail_over(&self) {
        // The request is refused if the replica has not replied to the Sentinel lately.
        let failover = format!("SENTINEL FAILOVER {}", Self::GROUP);
        until("a Sentinel starts the failover", FAILOVER, || {
            self.sentinels[0].try_run(&failover).is_ok()
        });
        self.wait_until_promoted();
    }

    /// Kills the primary, and shortens the Sentinels' timeouts.
    pub(crate) fn lose_primary(&mut self) {
        self.primary.kill();
        for sentinel in &self.sentinels {
            // A failover that fails is repeated after two of these timeouts.
            set(sentinel, "failover-timeout", 2_000);
            set(sentinel, "down-after-milliseconds", 500);
        }
        self.wait_until_promoted();
    }

    fn wait_until_promoted(&self) {
        let promoted = || {
            self.known_primary() == self.replica.port
                && contains(&self.replica.run("INFO replication"), "role:master")
        };
        until("the replica is promoted", FAILOVER, promoted);
    }

    fn is_known(&self) -> bool {
        self.sentinels.iter().all(|sentinel| {
            let info = sentinel.run("INFO sentinel");
            contains(&info, "status=ok") && contains(&info, "slaves=1,sentinels=3")
        })
    }
}

/// Starts a Sentinel that monitors a primary.
fn monitor(primary: u16) -> Server {
    let sentinel = Server::as_sentinel();
    let group = Sentinel::GROUP;
    sentinel.run(&format!("SENTINEL MONITOR {group} 127.0.0.1 {primary} 2"));
    // Long timeouts, so that a slow machine causes no failover, and interrupts none.
    set(&sentinel, "down-after-milliseconds", 60_000);
    set(&sentinel, "failover-timeout", 60_000);
    sentinel
}

fn set(sentinel: &Server, name: &str, value: u32) {
    let group = Sentinel::GROUP;
    sentinel.run(&format!("SENTINEL SET {group} {name} {value}"));
}

fn contains(reply: &Value, text: &str) -> bool {
    match reply {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).contains(text),
        _ => false,
    }
}
