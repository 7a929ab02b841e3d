//! Faults of a server. Each call is answered in time, and the client recovers afterwards.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rate_limiter_distributed::{
    Authority,
    BreakerState::{Closed, HalfOpen, Open},
    Failure,
};
use rate_limiter_redis::Endpoint;

use crate::caller::{
    assert_in_time, is_reply_to, one, with_long_timeout, with_short_timeout, Answer, Caller,
    MAX_WAIT,
};
use crate::servers::{until, Server};

fn is_refused(answer: &Answer, with: &str) -> bool {
    matches!(&answer.result, Err(Failure::Refused { code, .. }) if **code == *with)
}

/// Waits until the breaker has opened, half-opened and closed, and calls are counted again.
fn assert_recovers(caller: &Caller) {
    until("the breaker closes", MAX_WAIT, || {
        caller.events.breaker_changed(HalfOpen, Closed)
    });
    assert!(
        caller.events.breaker_changed(Closed, Open)
            && caller.events.breaker_changed(Open, HalfOpen)
    );
    caller.assert_counts("after", 3);
    caller.wait_until_connected();
}

#[test]
fn calls_to_a_paused_server_fail_in_time() {
    let server = Server::start();
    let caller = Caller::connected(with_short_timeout(server.endpoint()));
    server.pause();
    let (answers, answered) = channel();
    for cost in 1..=100 {
        caller.send(caller.call(&format!("id{cost}"), cost), &answers);
    }
    for _ in 0..100 {
        let answer = one(&answered);
        assert!(answer.result.is_err());
        assert_in_time(&answer);
    }
    caller.check_until_open();
    assert!(!caller.client.status().is_well());
    let refused = caller.client.send(caller.call("x", 1), Box::new(|_| {}));
    assert_eq!(
        refused.err().map(|unsent| unsent.failure),
        Some(Failure::Away)
    );
    server.resume();
    assert_recovers(&caller);
    assert!(caller.client.epoch() > 0);
    let status = caller.client.status();
    let server = &status.servers[0];
    assert_eq!(server.opened, status.totals.opened);
    // The hundred waited until their deadline, those before and after were answered.
    assert!(
        server.failed.counts.iter().sum::<u64>() >= 100,
        "{server:?}"
    );
    assert!(
        server.failed.sum >= 90 * Duration::from_millis(100),
        "{server:?}"
    );
    assert!(server.answered.counts.iter().sum::<u64>() > 0, "{server:?}");
}

#[test]
fn the_client_reconnects_to_a_restarted_server() {
    let mut server = Server::start();
    let caller = Caller::connected(with_short_timeout(server.endpoint()));
    server.kill();
    caller.check_until_open();
    server.restart();
    assert_recovers(&caller);
    assert!(caller.client.epoch() > 0);
    assert!(caller.client.status().totals.reconnections > 0);
}

#[test]
fn calls_to_a_missing_server_are_returned() {
    let caller = Caller::with(with_short_timeout(Endpoint::tcp(
        "127.0.0.1",
        crate::servers::free_port(),
    )));
    caller.wait_until_open();
    assert_eq!(caller.check("x", 1).result, Err(Failure::Away));
    caller.wait_for_problem("refused");
}

#[test]
fn a_server_that_accepts_and_never_replies_opens_the_breaker() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hole.local_addr().unwrap().port();
    let caller = Caller::with(with_short_timeout(Endpoint::tcp("127.0.0.1", port)));
    let first = caller.check("x", 1);
    assert!(
        matches!(first.result, Err(Failure::Away)),
        "{:?}",
        first.result
    );
    assert_in_time(&first);
    caller.check_until_open();
}

#[test]
fn a_flushed_script_is_loaded_again() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    for cost in 1..=20 {
        server.run("SCRIPT FLUSH");
        let reply = caller.check(&format!("id{cost}"), cost).result.unwrap();
        assert!(is_reply_to(&reply, cost));
    }
    assert!(!caller.events.breaker_changed(Closed, Open));
    assert_eq!(caller.client.epoch(), 0, "no state was lost");
}

#[test]
fn killed_connections_are_replaced() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    for round in 1..=10 {
        server.run("CLIENT KILL TYPE normal SKIPME yes");
        let cost = 100 + round;
        caller.assert_counts(&format!("id{cost}"), cost);
    }
    // The server was up, so the breaker opened at most because a busy machine was too slow to connect.
    let changes = caller.events.breaker.lock().unwrap().clone();
    let mut opened = changes.iter().filter(|change| change.1 == Open);
    assert!(
        opened.all(|change| change.2.starts_with("no answer within")),
        "{changes:?}"
    );
    caller.wait_for_connection_event("down");
    assert!(caller.client.epoch() > 0);
}

#[test]
fn the_client_recovers_from_a_client_pause() {
    let server = Server::start();
    let caller = Caller::connected(with_short_timeout(server.endpoint()));
    caller.check_until_open_during(|| drop(server.run("CLIENT PAUSE 4000 ALL")));
    assert_recovers(&caller);
}

#[test]
fn the_client_recovers_from_a_sleeping_server() {
    let server = Server::start();
    let caller = Caller::connected(with_short_timeout(server.endpoint()));
    let port = server.port;
    let mut sleepers = Vec::new();
    caller.check_until_open_during(|| {
        let sleep = move || drop(crate::servers::try_run(port, "DEBUG SLEEP 4"));
        sleepers.push(std::thread::spawn(sleep));
    });
    assert_recovers(&caller);
    for sleeper in sleepers {
        sleeper.join().unwrap();
    }
}

#[test]
fn a_server_with_full_memory_refuses_calls() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    server.run("CONFIG SET maxmemory 1");
    let answer = caller.check("x", 1);
    assert!(is_refused(&answer, "OOM"), "{:?}", answer.result);
    caller.check_until_open();
    caller.wait_for_problem("OOM");
    server.run("CONFIG SET maxmemory 0");
    assert_recovers(&caller);
}

#[test]
fn a_user_without_permission_is_refused() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    server.run("ACL SETUSER default -evalsha");
    let answer = caller.check("x", 1);
    assert!(is_refused(&answer, "NOPERM"), "{:?}", answer.result);
    caller.check_until_open();
    server.run("ACL SETUSER default +evalsha");
    assert_recovers(&caller);
}

#[test]
fn a_breaker_whose_probe_works_and_whose_calls_fail_opens_after_ever_longer_pauses() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    server.run("ACL SETUSER default resetkeys ~*:{!probe}*");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        caller.check("x", 1).result.unwrap_err();
        std::thread::sleep(Duration::from_millis(1));
    }
    let changes = caller.events.breaker.lock().unwrap().clone();
    let opened = changes.iter().filter(|change| change.1 == Open).count();
    // Five short pauses, and then at least half a second each.
    assert!((2..=12).contains(&opened), "{opened} times: {changes:?}");
    server.run("ACL SETUSER default allkeys");
    assert_recovers(&caller);
}

#[test]
fn a_server_that_becomes_a_replica_refuses_calls() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    let unused = crate::servers::free_port();
    server.run(&format!("REPLICAOF 127.0.0.1 {unused}"));
    let answer = caller.check("x", 1);
    assert!(is_refused(&answer, "READONLY"), "{:?}", answer.result);
    caller.wait_until_open();
    server.run("REPLICAOF NO ONE");
    assert_recovers(&caller);
}

#[test]
fn the_client_recovers_from_an_endless_script() {
    let server = Server::with(&[&["busy-reply-threshold", "50"]]);
    let caller = Caller::connected(with_short_timeout(server.endpoint()));
    let port = server.port;
    let busy = std::thread::spawn(move || {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut forever = redis::cmd("EVAL");
        drop(
            forever
                .arg("while true do end")
                .arg(0)
                .query::<()>(&mut connection),
        );
    });
    caller.check_until_open();
    until("the script is killed", MAX_WAIT, || {
        server.try_run("SCRIPT KILL").is_ok()
    });
    busy.join().unwrap();
    assert_recovers(&caller);
}

#[test]
fn a_full_queue_returns_calls() {
    let server = Server::start();
    let mut config = with_short_timeout(server.endpoint());
    // Long enough to send all calls before the first one fails and the breaker opens.
    config.timeout = Duration::from_secs(5);
    config.max_queue = 10;
    let caller = Caller::connected(config);
    server.pause();
    let (answers, answered) = channel();
    for cost in 1..=200 {
        caller.send(caller.call("x", cost), &answers);
    }
    let results: Vec<_> = (0..200).map(|_| one(&answered)).collect();
    results.iter().for_each(assert_in_time);
    let full = results
        .iter()
        .filter(|answer| answer.result == Err(Failure::Full))
        .count();
    assert!(
        full >= 150,
        "expected most calls to be returned, got: {full}"
    );
    server.resume();
    caller.assert_counts("after", 3);
    let idle = || caller.client.status().servers[0].pending == 0;
    until("nothing is pending", MAX_WAIT, idle);
}

#[test]
fn a_key_of_another_program_fails_its_calls_only() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    let reply = caller.check("mine", 1).result.unwrap();
    assert!(is_reply_to(&reply, 1));
    let redis::Value::Array(keys) = server.run("KEYS test:{mine}*") else {
        panic!("expected keys");
    };
    let key = String::from_utf8(redis::from_redis_value::<Vec<u8>>(keys[0].clone()).unwrap());
    let key = key.expect("a plain key");
    server.run(&format!("DEL {key}"));
    server.run(&format!("LPUSH {key} 1"));
    let answer = caller.check("mine", 1);
    assert!(
        matches!(answer.result, Err(Failure::Foreign(_))),
        "{:?}",
        answer.result
    );
    assert!(
        !caller.events.breaker_changed(Closed, Open),
        "the server works"
    );
    // It is reported without the id in the key.
    until("the problem is shown", MAX_WAIT, || {
        caller.check("mine", 1);
        let status = caller.client.status();
        let problem = status.servers[0].problem.as_deref().unwrap_or_default();
        status.totals.refused > 0
            && problem.starts_with("WRONGTYPE a key that begins with rate_limiter holds")
    });
    until("the batch is reported", MAX_WAIT, || {
        let batches = caller.events.batches.lock().unwrap();
        batches.contains(&(1, Some("WRONGTYPE".to_owned())))
    });
    until("the problem is not shown any more", MAX_WAIT, || {
        caller.check("other", 1);
        caller.client.status().servers[0].problem.is_none()
    });
}
