//! Calls that wait at the same time are sent together.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::sync::Arc;

use rate_limiter_distributed::{Authority, Done, Failure};
use rate_limiter_redis::{Command, Value};

use crate::caller::{is_reply_to, one, with_long_timeout, Answer, Caller, MAX_WAIT};
use crate::servers::Server;

fn caller(server: &Server) -> Caller {
    Caller::connected(with_long_timeout(server.endpoint()))
}

#[test]
fn a_call_before_the_first_connection_is_answered() {
    let server = Server::start();
    let caller = Caller::with(with_long_timeout(server.endpoint()));
    assert!(is_reply_to(&caller.check("first", 7).result.unwrap(), 7));
}

#[test]
fn a_batch_of_calls_takes_one_round_trip() {
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
        let (cost, answer) = answered.recv_timeout(MAX_WAIT).unwrap();
        assert!(is_reply_to(&answer.result.unwrap(), cost));
    }
    let totals = caller.client.status().totals;
    assert_eq!((totals.calls, totals.batches), (1000, 1));
}

#[test]
fn calls_that_arrive_during_a_round_trip_are_sent_together() {
    let server = Server::start();
    let caller = caller(&server);
    let (answers, answered) = channel();
    server.run("CLIENT PAUSE 50 ALL");
    for cost in 1..=500 {
        caller.send(caller.call(&format!("id{cost}"), cost), &answers);
    }
    let mut seen = HashSet::new();
    for _ in 0..500 {
        let (cost, answer) = answered.recv_timeout(MAX_WAIT).unwrap();
        assert!(is_reply_to(&answer.result.unwrap(), cost));
        assert!(seen.insert(cost), "answered twice: {cost}");
    }
    let batches = caller.client.status().totals.batches;
    assert!(batches < 10, "expected few batches, got: {batches}");
}

#[test]
fn a_command_is_sent_among_calls() {
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
    let result = answered.recv_timeout(MAX_WAIT).unwrap();
    assert_eq!(result, Ok(Value::Okay));
    assert_eq!(server.run("GET beat"), Value::BulkString(b"7".to_vec()));
}

#[test]
fn a_command_without_permission_does_not_open_the_breaker() {
    let server = Server::start();
    let caller = caller(&server);
    server.run("ACL SETUSER default -hset");
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
            let result = answered.recv_timeout(MAX_WAIT).unwrap();
            assert!(matches!(result, Err(Failure::Refused { .. })), "{result:?}");
        }
    }
    assert!(is_reply_to(&caller.check("x", 1).result.unwrap(), 1));
    assert_eq!(caller.client.status().totals.opened, 0);
}

#[test]
fn a_stopped_client_returns_calls_and_closes_its_connections() {
    let server = Server::start();
    let caller = caller(&server);
    let (answers, answered) = channel();
    caller.client.stop();
    caller.send(caller.call("late", 1), &answers);
    assert!(one(&answered).result.is_err());
    let alone = || match server.run("CLIENT LIST") {
        Value::BulkString(list) => String::from_utf8_lossy(&list).lines().count() == 1,
        other => panic!("{other:?}"),
    };
    crate::servers::until("this test has the only connection", MAX_WAIT, alone);
}

#[test]
fn a_unix_socket_and_another_database_work() {
    let server = Server::start();
    let mut config = with_long_timeout(server.socket());
    config.database = 3;
    let caller = Caller::connected(config);
    assert!(is_reply_to(&caller.check("socket", 5).result.unwrap(), 5));
    assert_ne!(server.run("INFO keyspace"), Value::BulkString(Vec::new()));
    assert_eq!(
        server.run("DBSIZE"),
        Value::Int(0),
        "database 0 is not used"
    );
}

/// The source of a script is a hundred times as long as its hash, and was sent by each heartbeat.
#[test]
fn a_script_is_sent_with_its_source_only_if_the_server_lacks_it() {
    let server = Server::start();
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    let evals = || {
        let stats: String = redis::from_redis_value(server.run("INFO commandstats")).unwrap();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_eval:"));
        let calls = line.and_then(|line| line["cmdstat_eval:calls=".len()..].split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().unwrap())
    };
    let run = |argument: &str| {
        let words = [
            "EVAL",
            "return ARGV[1] .. KEYS[1]",
            "1",
            "test:{a}",
            argument,
        ];
        let command = Command {
            key: Arc::from(*b"test:{a}"),
            words: words.map(|word| word.as_bytes().to_vec()).to_vec(),
        };
        let (sender, replies) = channel();
        let done = move |reply| sender.send(reply).unwrap();
        caller.client.command(command, Box::new(done)).unwrap();
        let reply = replies.recv_timeout(MAX_WAIT).unwrap().unwrap();
        assert_eq!(
            reply,
            Value::BulkString(format!("{argument}test:{{a}}").into_bytes())
        );
    };
    let before = evals();
    for argument in ["one ", "two ", "three "] {
        run(argument);
    }
    assert_eq!(evals(), before + 1);
    server.run("SCRIPT FLUSH");
    run("four ");
    run("five ");
    assert_eq!(evals(), before + 2);
}
