//! A primary is followed from one server to another.

use rate_limiter_redis::{Config, Credentials, Failure, Topology, Transport};

use crate::caller::{assert_in_time, hasty, is_for, patient, Caller, PATIENCE};
use crate::servers::{until, Sentinel};

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
    assert!(is_for(&caller.ask_until_answered("there", 5), 5));
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
    assert!(is_for(&caller.ask_until_answered("x", 5), 5));
}

#[test]
fn a_primary_that_dies() {
    let mut group = Sentinel::start();
    let caller = Caller::ready(Config {
        timeout: hasty(group.primary.endpoint()).timeout,
        ..config(&group, Sentinel::GROUP)
    });
    group.primary.kill();
    group.wait_until_promoted();
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
