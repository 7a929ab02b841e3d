//! A server that is far away.

use std::sync::mpsc::channel;
use std::time::Duration;

use rate_limiter_distributed::BreakerState;
use rate_limiter_redis::{Config, Credentials};

use crate::caller::{is_reply_to, one, with_long_timeout, Caller, MAX_WAIT};
use crate::servers::{until, Proxy, Secured, Server};

const FAR: Duration = Duration::from_millis(30);

/// Returns how often the server has run the script.
fn runs(server: &Server) -> u64 {
    let stats: String = redis::from_redis_value(server.run("INFO commandstats")).unwrap();
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = line.and_then(|line| line.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[test]
fn a_server_that_is_too_far_away_is_failing_whatever_its_breaker_says() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, Duration::from_millis(80));
    let caller = Caller::with(Config {
        timeout: Duration::from_millis(20),
        ..with_long_timeout(proxy.endpoint("127.0.0.1"))
    });
    let status = || caller.client.status().servers.remove(0);
    let mut number = 0;
    until("a closed breaker", MAX_WAIT, || {
        number += 1;
        caller.check(&format!("id{number}"), 1);
        let status = status();
        status.breaker == BreakerState::Closed && status.recent_failures > 5
    });
    let status = status();
    assert!(status.is_failing, "{status:?}");
    assert_eq!(status.recent_calls, status.recent_failures);
    assert!(!status.problem.unwrap().is_empty());
}

#[test]
fn a_call_leaves_before_the_one_ahead_of_it_is_answered() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, FAR);
    let caller = Caller::connected(with_long_timeout(proxy.endpoint("127.0.0.1")));
    assert!(caller.client.status().servers[0].round_trip >= FAR);
    proxy.hold();
    let (before, (answers, answered)) = (runs(&server), channel());
    for cost in 1..=5 {
        caller.send(caller.call(&format!("id{cost}"), cost), &answers);
        until("the server runs the call", MAX_WAIT, || {
            runs(&server) == before + cost
        });
    }
    assert!(answered.try_recv().is_err(), "no reply has arrived yet");
    proxy.release();
    for expected in 1..=5 {
        let (cost, answer) = answered.recv_timeout(MAX_WAIT).unwrap();
        assert_eq!(cost, expected, "replies keep their order");
        assert!(is_reply_to(&answer.result.unwrap(), cost));
    }
}

#[test]
fn a_near_server_is_sent_one_batch_after_the_other() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, Duration::ZERO);
    let caller = Caller::connected(with_long_timeout(proxy.endpoint("127.0.0.1")));
    // On a busy machine, a first reply may look like one from afar. The estimate follows the later ones.
    until("the server is near", MAX_WAIT, || {
        assert!(caller.check("near", 1).result.is_ok());
        caller.client.status().servers[0].round_trip < Duration::from_millis(1)
    });
    proxy.hold();
    let (before, (answers, answered)) = (runs(&server), channel());
    caller.send(caller.call("first", 1), &answers);
    until("the server runs the first call", MAX_WAIT, || {
        runs(&server) == before + 1
    });
    for cost in 2..=50 {
        caller.send(caller.call(&format!("id{cost}"), cost), &answers);
    }
    proxy.release();
    for _ in 0..50 {
        assert!(one(&answered).result.is_ok());
    }
    assert_eq!(runs(&server), before + 2, "the others share a run");
}

#[test]
fn a_distant_server_is_connected_over_tls() {
    let secured = Secured::start("secret");
    let proxy = Proxy::start(secured.port, Duration::from_millis(300));
    let rights = "+select +eval";
    secured
        .server
        .run(&format!("ACL SETUSER {} {rights}", Secured::USER));
    let caller = Caller::with(Config {
        credentials: Credentials::new(Some(Secured::USER), Some("secret")),
        tls: Some(secured.tls()),
        prefix: "test".into(),
        database: 1,
        ..with_long_timeout(proxy.endpoint("localhost"))
    });
    caller.wait_until_connected();
    assert!(is_reply_to(&caller.check("x", 5).result.unwrap(), 5));
}

#[test]
fn an_attempt_to_connect_ends_after_the_given_time() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, Duration::ZERO);
    proxy.hold();
    let caller = Caller::with(Config {
        connect_timeout: Duration::from_millis(100),
        ..with_long_timeout(proxy.endpoint("127.0.0.1"))
    });
    caller.wait_for_connection_event(
        "failed: no answer within 100ms, while waiting for the first reply",
    );
    proxy.release();
    caller.wait_until_connected();
}
