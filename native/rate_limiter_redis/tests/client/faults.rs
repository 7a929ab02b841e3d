//! What a server can do to its callers: each of them is answered in time all the same, and served again afterwards.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use rate_limiter_distributed::{
    Authority,
    BreakerState::{Closed, HalfOpen, Open},
    Failure,
};
use rate_limiter_redis::Endpoint;

use crate::caller::{assert_in_time, hasty, is_for, one, patient, Answer, Caller, PATIENCE};
use crate::servers::{until, Server};

fn is_refused(answer: &Answer, with: &str) -> bool {
    matches!(&answer.result, Err(Failure::Refused { code, .. }) if **code == *with)
}

/// The breaker opened, tried, and closed.
fn assert_recovers(caller: &Caller) {
    until("the breaker closes", PATIENCE, || {
        caller.told.turned(HalfOpen, Closed)
    });
    assert!(caller.told.turned(Closed, Open) && caller.told.turned(Open, HalfOpen));
    caller.assert_counts("after", 3);
    caller.wait_until_well();
}

#[test]
fn a_server_that_stands_still() {
    let server = Server::start();
    let caller = Caller::ready(hasty(server.endpoint()));
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
    caller.ask_until_open();
    assert!(!caller.client.status().is_well());
    let refused = caller.client.send(caller.call("x", 1), Box::new(|_| {}));
    assert_eq!(
        refused.err().map(|unsent| unsent.failure),
        Some(Failure::Away)
    );
    server.resume();
    assert_recovers(&caller);
    assert!(caller.client.epoch() > 0);
}

#[test]
fn a_server_that_dies_and_comes_back() {
    let mut server = Server::start();
    let caller = Caller::ready(hasty(server.endpoint()));
    server.kill();
    caller.ask_until_open();
    server.restart();
    assert_recovers(&caller);
    assert!(caller.client.epoch() > 0);
    assert!(caller.client.status().totals.reconnections > 0);
}

#[test]
fn a_server_that_was_never_there() {
    let caller = Caller::with(hasty(Endpoint::tcp(
        "127.0.0.1",
        crate::servers::free_port(),
    )));
    caller.wait_until_open();
    assert_eq!(caller.ask("x", 1).result, Err(Failure::Away));
    caller.wait_for_problem("refused");
}

#[test]
fn a_black_hole() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hole.local_addr().unwrap().port();
    let caller = Caller::with(hasty(Endpoint::tcp("127.0.0.1", port)));
    let first = caller.ask("x", 1);
    assert!(
        matches!(first.result, Err(Failure::Away)),
        "{:?}",
        first.result
    );
    assert_in_time(&first);
    caller.ask_until_open();
}

#[test]
fn scripts_that_are_flushed() {
    let server = Server::start();
    let caller = Caller::ready(patient(server.endpoint()));
    for cost in 1..=20 {
        server.tell("SCRIPT FLUSH");
        let reply = caller.ask(&format!("id{cost}"), cost).result.unwrap();
        assert!(is_for(&reply, cost));
    }
    assert!(!caller.told.turned(Closed, Open));
    assert_eq!(caller.client.epoch(), 0, "nothing was lost");
}

#[test]
fn connections_that_are_killed() {
    let server = Server::start();
    let caller = Caller::ready(patient(server.endpoint()));
    for round in 1..=10 {
        server.tell("CLIENT KILL TYPE normal SKIPME yes");
        let cost = 100 + round;
        caller.assert_counts(&format!("id{cost}"), cost);
    }
    // It was there all the time, but for whom the machine gave no time to connect.
    let turns = caller.told.breaker.lock().unwrap().clone();
    let mut opened = turns.iter().filter(|turn| turn.1 == Open);
    assert!(
        opened.all(|turn| turn.2.starts_with("no answer within")),
        "{turns:?}"
    );
    caller.wait_until_heard("down");
    assert!(caller.client.epoch() > 0);
}

#[test]
fn a_pause_of_all_clients() {
    let server = Server::start();
    let caller = Caller::ready(hasty(server.endpoint()));
    caller.ask_until_open_through(|| drop(server.tell("CLIENT PAUSE 4000 ALL")));
    assert_recovers(&caller);
}

#[test]
fn a_server_that_sleeps() {
    let server = Server::start();
    let caller = Caller::ready(hasty(server.endpoint()));
    let port = server.port;
    let mut sleepers = Vec::new();
    caller.ask_until_open_through(|| {
        let sleep = move || drop(crate::servers::ask(port, "DEBUG SLEEP 4"));
        sleepers.push(std::thread::spawn(sleep));
    });
    assert_recovers(&caller);
    for sleeper in sleepers {
        sleeper.join().unwrap();
    }
}

#[test]
fn a_server_whose_memory_is_full() {
    let server = Server::start();
    let caller = Caller::ready(patient(server.endpoint()));
    server.tell("CONFIG SET maxmemory 1");
    let answer = caller.ask("x", 1);
    assert!(is_refused(&answer, "OOM"), "{:?}", answer.result);
    caller.ask_until_open();
    caller.wait_for_problem("OOM");
    server.tell("CONFIG SET maxmemory 0");
    assert_recovers(&caller);
}

#[test]
fn a_user_who_may_not() {
    let server = Server::start();
    let caller = Caller::ready(patient(server.endpoint()));
    server.tell("ACL SETUSER default -evalsha");
    let answer = caller.ask("x", 1);
    assert!(is_refused(&answer, "NOPERM"), "{:?}", answer.result);
    caller.ask_until_open();
    server.tell("ACL SETUSER default +evalsha");
    assert_recovers(&caller);
}

#[test]
fn a_server_that_becomes_a_replica() {
    let server = Server::start();
    let caller = Caller::ready(patient(server.endpoint()));
    let nobody = crate::servers::free_port();
    server.tell(&format!("REPLICAOF 127.0.0.1 {nobody}"));
    let answer = caller.ask("x", 1);
    assert!(is_refused(&answer, "READONLY"), "{:?}", answer.result);
    caller.wait_until_open();
    server.tell("REPLICAOF NO ONE");
    assert_recovers(&caller);
}

#[test]
fn a_script_that_does_not_end() {
    let server = Server::with(&[&["busy-reply-threshold", "50"]]);
    let caller = Caller::ready(hasty(server.endpoint()));
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
    caller.ask_until_open();
    until("the script is killed", PATIENCE, || {
        server.ask("SCRIPT KILL").is_ok()
    });
    busy.join().unwrap();
    assert_recovers(&caller);
}

#[test]
fn a_queue_that_is_full() {
    let server = Server::start();
    let mut config = hasty(server.endpoint());
    // Long enough that all are sent before the first gives up and the breaker opens.
    config.timeout = Duration::from_secs(5);
    config.max_queue = 10;
    let caller = Caller::ready(config);
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
    assert!(full >= 150, "expected most to find it full, got: {full}");
    server.resume();
    caller.assert_counts("after", 3);
    let idle = || caller.client.status().servers[0].pending == 0;
    until("nothing is pending", PATIENCE, idle);
}

#[test]
fn somebody_elses_key() {
    let server = Server::start();
    let caller = Caller::ready(patient(server.endpoint()));
    let reply = caller.ask("mine", 1).result.unwrap();
    assert!(is_for(&reply, 1));
    let redis::Value::Array(keys) = server.tell("KEYS test:{mine}*") else {
        panic!("expected keys");
    };
    let key = String::from_utf8(redis::from_redis_value::<Vec<u8>>(keys[0].clone()).unwrap());
    let key = key.expect("this key is text");
    server.tell(&format!("DEL {key}"));
    server.tell(&format!("LPUSH {key} 1"));
    let answer = caller.ask("mine", 1);
    assert!(
        matches!(answer.result, Err(Failure::Foreign(_))),
        "{:?}",
        answer.result
    );
    assert!(!caller.told.turned(Closed, Open), "the server works");
    // And yet it is told, without the id that the key is about.
    until("the problem is shown", PATIENCE, || {
        caller.ask("mine", 1);
        let status = caller.client.status();
        let problem = status.servers[0].problem.as_deref().unwrap_or_default();
        status.totals.refused > 0
            && problem.starts_with("WRONGTYPE a key that begins with rate_limiter holds")
    });
    until("the batch is told of", PATIENCE, || {
        let batches = caller.told.batches.lock().unwrap();
        batches.contains(&(1, Some("WRONGTYPE".to_owned())))
    });
    until("the problem is over", PATIENCE, || {
        caller.ask("other", 1);
        caller.client.status().servers[0].problem.is_none()
    });
}
