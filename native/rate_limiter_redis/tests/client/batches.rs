//! Calls that wait at the same time travel together.

use std::collections::HashSet;
use std::sync::mpsc::channel;

use rate_limiter_distributed::{Authority, Done, Failure};
use rate_limiter_redis::{Command, Value};

use crate::caller::{is_for, one, patient, Answer, Caller, PATIENCE};
use crate::servers::Server;

fn caller(server: &Server) -> Caller {
    Caller::ready(patient(server.endpoint()))
}

#[test]
fn a_call_is_answered_before_there_was_a_connection_to_wait_for() {
    let server = Server::start();
    let caller = Caller::with(patient(server.endpoint()));
    assert!(is_for(&caller.ask("first", 7).result.unwrap(), 7));
}

#[test]
fn calls_that_are_sent_together_make_one_round_trip() {
    let server = Server::start();
    let caller = caller(&server);
    let (answers, answered) = channel();
    let calls = (1..=1000_u64).map(|cost| {
        let answers = answers.clone();
        let done: Done = Box::new(move |result| {
            let took = std::time::Duration::ZERO;
            answers.send((cost, Answer { result, took })).unwrap();
        });
        (caller.call(&format!("id{cost}"), cost), done)
    });
    let unsent = caller.client.send_batch(calls.collect());
    assert!(unsent.is_empty());
    for _ in 0..1000 {
        let (cost, answer) = answered.recv_timeout(PATIENCE).unwrap();
        assert!(is_for(&answer.result.unwrap(), cost));
    }
    let totals = caller.client.status().totals;
    assert_eq!((totals.calls, totals.batches), (1000, 1));
}

#[test]
fn what_gathers_while_a_flight_is_in_the_air_goes_together() {
    let server = Server::start();
    let caller = caller(&server);
    let (answers, answered) = channel();
    server.tell("CLIENT PAUSE 50 ALL");
    for cost in 1..=500 {
        caller.send(caller.call(&format!("id{cost}"), cost), &answers);
    }
    let mut seen = HashSet::new();
    for _ in 0..500 {
        let (cost, answer) = answered.recv_timeout(PATIENCE).unwrap();
        assert!(is_for(&answer.result.unwrap(), cost));
        assert!(seen.insert(cost), "answered twice: {cost}");
    }
    let batches = caller.client.status().totals.batches;
    assert!(batches < 10, "expected a few flights, got: {batches}");
}

#[test]
fn a_command_goes_among_the_calls() {
    let server = Server::start();
    let caller = caller(&server);
    let (answers, answered) = channel();
    let words = ["SET", "beat", "7"].map(|word| word.as_bytes().to_vec());
    let command = Command {
        key: b"beat".as_slice().into(),
        words: words.to_vec(),
    };
    let done = move |result| answers.send(result).unwrap();
    caller.client.command(command, Box::new(done)).unwrap();
    let result = answered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(result, Ok(Value::Okay));
    assert_eq!(server.tell("GET beat"), Value::BulkString(b"7".to_vec()));
}

#[test]
fn a_command_that_may_not_is_none_of_the_calls_trouble() {
    let server = Server::start();
    let caller = caller(&server);
    server.tell("ACL SETUSER default -hset");
    let script = "return redis.call('HSET', KEYS[1], 'a', 1)";
    for words in [
        &["HSET", "beat", "a", "1"][..],
        &["EVAL", script, "1", "beat"],
    ] {
        for _ in 0..20 {
            let (answers, answered) = channel();
            let command = Command {
                key: b"beat".as_slice().into(),
                words: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            };
            let done = move |result| answers.send(result).unwrap();
            caller.client.command(command, Box::new(done)).unwrap();
            let result = answered.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(result, Err(Failure::Refused { .. })), "{result:?}");
        }
    }
    assert!(is_for(&caller.ask("x", 1).result.unwrap(), 1));
    assert_eq!(caller.client.status().totals.opened, 0);
}

#[test]
fn a_client_that_is_stopped_hands_calls_back_and_closes_its_connections() {
    let server = Server::start();
    let caller = caller(&server);
    let (answers, answered) = channel();
    caller.client.stop();
    caller.send(caller.call("late", 1), &answers);
    assert!(one(&answered).result.is_err());
    let alone = || match server.tell("CLIENT LIST") {
        Value::BulkString(list) => String::from_utf8_lossy(&list).lines().count() == 1,
        other => panic!("{other:?}"),
    };
    crate::servers::until("only the one who asks is connected", PATIENCE, alone);
}

#[test]
fn a_unix_socket_and_another_database_serve_as_well() {
    let server = Server::start();
    let mut config = patient(server.socket());
    config.database = 3;
    let caller = Caller::ready(config);
    assert!(is_for(&caller.ask("socket", 5).result.unwrap(), 5));
    assert_ne!(server.tell("INFO keyspace"), Value::BulkString(Vec::new()));
    assert_eq!(
        server.tell("DBSIZE"),
        Value::Int(0),
        "database 0 is not used"
    );
}
