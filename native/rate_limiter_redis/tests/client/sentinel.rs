//! A primary is followed from one server to another.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use rate_limiter_distributed::{Authority, Failure};
use rate_limiter_redis::{Config, Credentials, Endpoint, Topology};

use crate::caller::{assert_in_time, hasty, is_for, patient, Caller, PATIENCE};
use crate::servers::{until, Sentinel, Server};

fn config(group: &Sentinel, name: &str) -> Config {
    let topology = Topology::Sentinel {
        sentinels: group.endpoints(),
        group: name.to_owned(),
        credentials: Credentials::default(),
    };
    Config {
        topology,
        ..patient(group.primary.endpoint())
    }
}

/// Asks until the replica answers; nobody waits long meanwhile.
fn assert_follows(caller: &Caller, group: &Sentinel) {
    let replica = group.replica.endpoint().to_string();
    let mut cost = 100;
    until("calls go to the new primary", PATIENCE, || {
        cost += 1;
        let answer = caller.ask(&format!("id{cost}"), cost);
        assert_in_time(&answer);
        let servers = caller.client.status().servers;
        answer.result.is_ok() && servers.iter().any(|server| server.server == replica)
    });
    caller.assert_counts("there", 5);
    let there = group.replica.tell("KEYS test:{there}*");
    assert!(matches!(there, redis::Value::Array(keys) if keys.len() == 1));
    assert!(caller.client.epoch() > 0, "it may not have heard all");
}

#[test]
fn a_failover_that_was_asked_for() {
    let group = Sentinel::start();
    let caller = Caller::ready(config(&group, Sentinel::GROUP));
    assert!(is_for(&caller.ask("before", 7).result.unwrap(), 7));
    let hasty = Caller::ready(Config {
        timeout: hasty(group.primary.endpoint()).timeout,
        ..config(&group, Sentinel::GROUP)
    });
    group.fail_over();
    assert_follows(&hasty, &group);
    caller.assert_counts("x", 5);
}

#[test]
fn a_primary_that_dies() {
    let mut group = Sentinel::start();
    let caller = Caller::ready(Config {
        timeout: hasty(group.primary.endpoint()).timeout,
        ..config(&group, Sentinel::GROUP)
    });
    group.lose_primary();
    assert_follows(&caller, &group);
}

#[test]
fn a_group_that_nobody_knows_is_a_problem_that_is_told() {
    let group = Sentinel::start();
    let caller = Caller::with(config(&group, "others"));
    let told = || {
        let problem = caller.client.status().problem;
        problem.is_some_and(|problem| problem.contains("does not know the group \"others\""))
    };
    until("the problem is told", PATIENCE, told);
    assert_eq!(caller.ask("x", 1).result, Err(Failure::Away));
}

/// A sentinel that is behind: whatever it is asked, it names the same server, for as long as the test runs.
fn stale(named: &Server) -> Endpoint {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let digits = named.port.to_string();
    let reply = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{digits}\r\n", digits.len());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let reply = reply.clone();
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    // The last word of the only question.
                    if line == Sentinel::GROUP && stream.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Endpoint::tcp("127.0.0.1", port)
}

#[test]
fn a_replica_that_a_sentinel_takes_for_the_primary_decides_nothing_though_it_takes_writes() {
    let group = Sentinel::start();
    group.replica.tell("CONFIG SET replica-read-only no");
    let stale = stale(&group.replica);
    let primary = group.primary.endpoint().to_string();
    let mut rounds = 0;
    // Where its answer comes late, another one is asked: then it is tried again.
    until("the one that is behind is believed", PATIENCE, || {
        let sentinels = std::iter::once(stale.clone()).chain(group.endpoints());
        let caller = Caller::with(Config {
            topology: Topology::Sentinel {
                sentinels: sentinels.collect(),
                group: Sentinel::GROUP.to_owned(),
                credentials: Credentials::default(),
            },
            ..patient(group.primary.endpoint())
        });
        rounds += 1;
        caller.assert_counts(&format!("x{rounds}"), 5);
        until("it goes by the others", PATIENCE, || {
            let servers = caller.client.status().servers;
            !servers.is_empty() && servers.iter().all(|server| server.server == primary)
        });
        caller.told.heard("expected a primary, got: a slave")
    });
    // What it holds came from the primary.
    let asked = format!("{:?}", group.replica.tell("INFO commandstats"));
    assert!(!asked.contains("cmdstat_evalsha"), "{asked}");
}
