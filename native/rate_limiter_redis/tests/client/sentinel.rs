//! The client follows the primary that Sentinels name.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rate_limiter_distributed::{Authority, Failure};
use rate_limiter_redis::{Config, Credentials, Endpoint, SentinelTls, Topology};

use crate::caller::{
    assert_in_time, is_reply_to, with_long_timeout, with_short_timeout, Caller, MAX_WAIT,
};
use crate::servers::{until, Sentinel, Server};

fn config(group: &Sentinel, name: &str) -> Config {
    let topology = Topology::Sentinel {
        sentinels: group.endpoints(),
        group: name.to_owned(),
        credentials: Credentials::default(),
        tls: SentinelTls::Same,
    };
    Config {
        topology,
        ..with_long_timeout(group.primary.endpoint())
    }
}

#[test]
fn no_server_is_shown_before_a_sentinel_has_named_one() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let topology = Topology::Sentinel {
        sentinels: vec![Endpoint::tcp("127.0.0.1", port)],
        group: Sentinel::GROUP.to_owned(),
        credentials: Credentials::default(),
        tls: SentinelTls::Same,
    };
    let caller = Caller::with(Config {
        topology,
        ..with_long_timeout(Endpoint::tcp("127.0.0.1", port))
    });
    assert_eq!(caller.client.status().servers, []);
}

/// Makes calls until the promoted replica answers. None of them takes long.
fn assert_follows(caller: &Caller, group: &Sentinel) {
    let replica = group.replica.endpoint().to_string();
    let mut cost = 100;
    until("calls go to the new primary", MAX_WAIT, || {
        cost += 1;
        let answer = caller.check(&format!("id{cost}"), cost);
        assert_in_time(&answer);
        let servers = caller.client.status().servers;
        answer.result.is_ok() && servers.iter().any(|server| server.server == replica)
    });
    caller.assert_counts("there", 5);
    let there = group.replica.run("KEYS test:{there}*");
    assert!(matches!(there, redis::Value::Array(keys) if keys.len() == 1));
    assert!(
        caller.client.epoch() > 0,
        "a promoted replica may lack writes"
    );
}

#[test]
fn the_client_follows_a_requested_failover() {
    let group = Sentinel::start();
    let caller = Caller::connected(config(&group, Sentinel::GROUP));
    assert!(is_reply_to(&caller.check("before", 7).result.unwrap(), 7));
    let with_short_timeout = Caller::connected(Config {
        timeout: with_short_timeout(group.primary.endpoint()).timeout,
        ..config(&group, Sentinel::GROUP)
    });
    group.fail_over();
    assert_follows(&with_short_timeout, &group);
    caller.assert_counts("x", 5);
}

#[test]
fn the_client_follows_a_failover_after_the_primary_dies() {
    let mut group = Sentinel::start();
    let caller = Caller::connected(Config {
        timeout: with_short_timeout(group.primary.endpoint()).timeout,
        ..config(&group, Sentinel::GROUP)
    });
    group.lose_primary();
    assert_follows(&caller, &group);
}

#[test]
fn an_unknown_group_is_shown_as_a_problem() {
    let group = Sentinel::start();
    let caller = Caller::with(config(&group, "others"));
    let is_shown = || {
        let problem = caller.client.status().problem;
        problem.is_some_and(|problem| problem.contains("does not know the group \"others\""))
    };
    until("the problem is shown", MAX_WAIT, is_shown);
    assert_eq!(caller.check("x", 1).result, Err(Failure::Away));
    assert_reports_once(&caller, "does not know the group \"others\"");
}

/// Checks that a failed discovery is one event for each reason, and not one for each attempt.
fn assert_reports_once(caller: &Caller, reason: &str) {
    caller.wait_for_connection_event(reason);
    // Several attempts.
    thread::sleep(Duration::from_secs(1));
    let mut events = caller.events.connections.lock().unwrap().clone();
    assert!(
        events.iter().all(|event| event.starts_with("failed: ")),
        "{events:?}"
    );
    let all = events.len();
    events.sort();
    events.dedup();
    assert_eq!(all, events.len(), "{events:?}");
}

#[test]
fn servers_that_cannot_be_found_are_reported() {
    let missing = || Endpoint::tcp("127.0.0.1", crate::servers::free_port());
    let sentinels = Topology::Sentinel {
        sentinels: vec![missing(), missing()],
        group: "primary".to_owned(),
        credentials: Credentials::default(),
        tls: SentinelTls::Same,
    };
    let cluster = Topology::Cluster {
        seeds: vec![missing()],
    };
    // A cluster without slots, and a server that is no node of one.
    let bus = crate::servers::free_port().to_string();
    let empty = Server::with(&[&["cluster-enabled", "yes"], &["cluster-port", &bus]]);
    let without_slots = Topology::Cluster {
        seeds: vec![empty.endpoint()],
    };
    let single = Server::start();
    let no_cluster = Topology::Cluster {
        seeds: vec![single.endpoint()],
    };
    for (topology, reason) in [
        (sentinels, "refused"),
        (cluster, "refused"),
        (without_slots, "expected slots with an owner, got: none"),
        (no_cluster, "cluster support disabled"),
    ] {
        assert_reports_once(&Caller::with(Config::new(topology)), reason);
    }
}

/// A Sentinel that names the same server until the test ends, and announces what the test says.
struct Fake {
    endpoint: Endpoint,
    connections: Arc<AtomicUsize>,
    queries: Arc<AtomicUsize>,
    listeners: Arc<Mutex<Vec<TcpStream>>>,
}

impl Fake {
    fn start(named: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let digits = named.port.to_string();
        let reply = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{digits}\r\n", digits.len());
        let fake = Self {
            endpoint: Endpoint::tcp("127.0.0.1", port),
            connections: Arc::default(),
            queries: Arc::default(),
            listeners: Arc::default(),
        };
        let (connections, queries) = (fake.connections.clone(), fake.queries.clone());
        let listeners = fake.listeners.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let (reply, queries) = (reply.clone(), queries.clone());
                let listeners = listeners.clone();
                thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    while let Some(Ok(line)) = lines.next() {
                        // The last argument of a subscription, and that of a query.
                        if line == "+switch-master" {
                            listeners.lock().unwrap().push(stream.try_clone().unwrap());
                        } else if line == Sentinel::GROUP {
                            queries.fetch_add(1, Ordering::Relaxed);
                            if stream.write_all(reply.as_bytes()).is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        fake
    }

    fn caller(&self) -> Caller {
        let topology = Topology::Sentinel {
            sentinels: vec![self.endpoint.clone()],
            group: Sentinel::GROUP.to_owned(),
            credentials: Credentials::default(),
            tls: SentinelTls::Same,
        };
        Caller::connected(Config {
            topology,
            ..with_long_timeout(self.endpoint.clone())
        })
    }

    fn announce(&self, from: &Server, to: &Server) {
        let (group, from, to) = (Sentinel::GROUP, from.port, to.port);
        let text = format!("{group} 127.0.0.1 {from} 127.0.0.1 {to}");
        let message = format!(
            "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${}\r\n{text}\r\n",
            text.len()
        );
        until("the client listens", MAX_WAIT, || {
            !self.listeners.lock().unwrap().is_empty()
        });
        for listener in self.listeners.lock().unwrap().iter_mut() {
            listener.write_all(message.as_bytes()).unwrap();
        }
    }

    /// Waits until the client has asked so many times more.
    fn wait_for_queries(&self, more: usize) {
        let enough = self.queries.load(Ordering::Relaxed) + more;
        until("further queries", MAX_WAIT, || {
            self.queries.load(Ordering::Relaxed) >= enough
        });
    }
}

#[test]
fn a_writable_replica_that_a_stale_sentinel_names_decides_no_call() {
    let group = Sentinel::start();
    group.replica.run("CONFIG SET replica-read-only no");
    let stale = Fake::start(&group.replica).endpoint;
    let primary = group.primary.endpoint().to_string();
    let mut rounds = 0;
    // If the stale one replies late, the client queries another one: then the test starts another client.
    until("the client connects to the replica", MAX_WAIT, || {
        let sentinels = std::iter::once(stale.clone()).chain(group.endpoints());
        let caller = Caller::with(Config {
            topology: Topology::Sentinel {
                sentinels: sentinels.collect(),
                group: Sentinel::GROUP.to_owned(),
                credentials: Credentials::default(),
                tls: SentinelTls::Same,
            },
            ..with_long_timeout(group.primary.endpoint())
        });
        rounds += 1;
        caller.assert_counts(&format!("x{rounds}"), 5);
        until("the client follows the other Sentinels", MAX_WAIT, || {
            let servers = caller.client.status().servers;
            !servers.is_empty() && servers.iter().all(|server| server.server == primary)
        });
        caller
            .events
            .has_connection_event("expected a primary, got: a slave")
    });
    // The replica has data, but only by replication.
    let asked = format!("{:?}", group.replica.run("INFO commandstats"));
    assert!(!asked.contains("cmdstat_evalsha"), "{asked}");
}

#[test]
fn an_announced_primary_is_used_at_once_and_the_former_one_is_not_asked_any_more() {
    let (former, primary) = (Server::start(), Server::start());
    let sentinel = Fake::start(&former);
    let caller = sentinel.caller();
    caller.assert_counts("before", 5);
    sentinel.announce(&former, &primary);
    let to_primary = || {
        let servers = caller.client.status().servers;
        servers.len() == 1 && servers[0].server == primary.endpoint().to_string()
    };
    until("calls go to the announced primary", MAX_WAIT, to_primary);
    caller.assert_counts("there", 5);
    assert!(
        caller.client.epoch() > 0,
        "a promoted replica may lack writes"
    );
    // This Sentinel is behind: its answers name the former primary.
    sentinel.wait_for_queries(3);
    assert!(to_primary());
    caller.assert_counts("still there", 5);
    let keys = |server: &Server| format!("{:?}", server.run("KEYS test:*there*"));
    assert!(keys(&primary).contains("still there"));
    assert_eq!(keys(&former), "array([])");
    // Back again, by an announcement.
    sentinel.announce(&primary, &former);
    until("calls go back", MAX_WAIT, || !to_primary());
}

#[test]
fn a_sentinel_is_asked_on_a_connection_that_stays() {
    let primary = Server::start();
    let sentinel = Fake::start(&primary);
    let caller = sentinel.caller();
    sentinel.wait_for_queries(4);
    caller.assert_counts("x", 5);
    // One for queries, and one to listen.
    assert_eq!(sentinel.connections.load(Ordering::Relaxed), 2);
}
