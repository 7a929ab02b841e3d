//! Which script decides calls.

use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Duration;

use rate_limiter_core::Limit;
use rate_limiter_distributed::{Authority, Call, Done, Meter, Op};
use rate_limiter_redis::{script, Config, Credentials, Value};

use crate::caller::{one, with_long_timeout, Caller, MAX_WAIT};
use crate::secured::PASSWORD;
use crate::servers::{until, Server};

/// A limit of which hardly a token comes back during a test.
fn slow(burst: u64) -> Arc<Meter> {
    let limit = Limit::token_bucket(1, Duration::from_hours(9)).with_burst(burst);
    Arc::new(Meter::new("w", &limit).unwrap())
}

fn call(caller: &Caller, meter: &Arc<Meter>, id: &str) -> Call {
    let mut call = caller.call(id, 1);
    call.windows[0].meter = Arc::clone(meter);
    call
}

/// Takes a token, and returns how many are left.
fn take(caller: &Caller, meter: &Arc<Meter>, id: &str) -> u64 {
    let (answers, answer) = channel();
    caller.send(call(caller, meter, id), &answers);
    one(&answer).result.unwrap().windows[0].usage.remaining
}

/// Returns whether the lean script decides a call about an unused id: the general one runs EXISTS as well.
fn is_lean(server: &Server, caller: &Caller, meter: &Arc<Meter>) -> bool {
    server.run("DEL test:{new}:w~b");
    server.run("CONFIG RESETSTAT");
    assert_eq!(take(caller, meter, "new"), 9);
    let Value::BulkString(stats) = server.run("INFO commandstats") else {
        panic!("expected text");
    };
    let stats = String::from_utf8_lossy(&stats).into_owned();
    assert!(stats.contains("cmdstat_mget:"), "{stats}");
    !stats.contains("cmdstat_exists:")
}

fn wait_until_lean(server: &Server, caller: &Caller, meter: &Arc<Meter>) {
    until("the lean script decides", MAX_WAIT, || {
        is_lean(server, caller, meter)
    });
}

#[test]
fn the_first_call_that_needs_the_lean_script_loads_it() {
    let (server, meter) = (Server::start(), slow(10));
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    let exists = format!("SCRIPT EXISTS {}", script::LEAN.hash());
    let has_script = || server.run(&exists) == Value::Array(vec![Value::Int(1)]);
    let mut peek = call(&caller, &meter, "ann");
    peek.op = Op::Peek;
    let (answers, answer) = channel();
    caller.send(peek, &answers);
    assert!(one(&answer).result.is_ok() && !has_script());
    assert_eq!(take(&caller, &meter, "ann"), 9);
    wait_until_lean(&server, &caller, &meter);
    assert!(has_script());
}

#[test]
fn a_server_that_has_lost_the_lean_script_answers_and_learns_it_again() {
    let (server, meter) = (Server::start(), slow(10));
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    wait_until_lean(&server, &caller, &meter);
    assert_eq!(take(&caller, &meter, "ann"), 9);
    server.run("SCRIPT FLUSH");
    assert_eq!(take(&caller, &meter, "ann"), 8);
    wait_until_lean(&server, &caller, &meter);
    assert!(!caller.events.has_connection_event("down"));
    assert_eq!(caller.client.status().totals.refused, 0);
}

#[test]
fn a_key_with_states_of_several_limits_is_decided_by_the_general_script() {
    let (server, ten) = (Server::start(), slow(10));
    let other = Limit::token_bucket(1, Duration::from_hours(8)).with_burst(7);
    let seven = Arc::new(Meter::new("w", &other).unwrap());
    let caller = Caller::connected(with_long_timeout(server.endpoint()));
    wait_until_lean(&server, &caller, &ten);
    assert_eq!(take(&caller, &ten, "ann"), 9);
    for (meter, remaining) in [(&seven, 5), (&ten, 7), (&seven, 3), (&ten, 5)] {
        assert_eq!(take(&caller, meter, "ann"), remaining);
    }
    take(&caller, &ten, "bob");
    take(&caller, &seven, "bob");
    wait_until_lean(&server, &caller, &ten);
    // In one batch with others, of which each is decided once.
    let before = caller.client.status().totals.calls;
    let (answers, answered) = channel();
    let calls = ["eve", "bob", "dan"].map(|id| call(&caller, &ten, id));
    let calls = calls.into_iter().map(|call| {
        let answers = answers.clone();
        let done: Done = Box::new(move |result| {
            let reply = result.expect("an answer");
            answers.send(reply.windows[0].usage.remaining).unwrap();
        });
        (call, done)
    });
    let unsent = caller.client.send_batch(calls.collect());
    assert!(unsent.is_empty());
    let mut remaining: Vec<u64> = (0..3)
        .map(|_| answered.recv_timeout(MAX_WAIT).unwrap())
        .collect();
    remaining.sort_unstable();
    assert_eq!(remaining, [7, 9, 9]);
    assert_eq!(caller.client.status().totals.calls, before + 3);
}

#[test]
fn a_user_who_may_not_load_scripts_is_answered_by_the_general_one() {
    let (server, meter) = (Server::start(), slow(10));
    drop(Caller::connected(with_long_timeout(server.endpoint())));
    server.run(&format!(
        "ACL SETUSER limiter reset on >{PASSWORD} ~test:* -@all +evalsha +mget +exists +set +del +time"
    ));
    let caller = Caller::connected(Config {
        credentials: Credentials::new(Some("limiter"), Some(PASSWORD)),
        prefix: "test".into(),
        ..with_long_timeout(server.endpoint())
    });
    for remaining in (0..10).rev() {
        assert_eq!(take(&caller, &meter, "ann"), remaining);
    }
    assert!(!is_lean(&server, &caller, &meter));
    assert!(!caller.events.has_connection_event("down"));
    assert!(caller.client.status().is_well());
}
