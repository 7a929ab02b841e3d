//! No call gets the reply of another one, whatever fails meanwhile.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::caller::{is_reply_to, with_long_timeout, Caller, MAX_WAIT};
use crate::servers::Server;

/// The load of one thread.
#[derive(Clone, Debug)]
struct Load {
    calls: u64,
    pause_after: u64,
    pause: Duration,
}

fn load() -> impl Strategy<Value = Load> {
    (50_u64..400, 1_u64..50, 0_u64..2_000).prop_map(|(calls, pause_after, micros)| Load {
        calls,
        pause_after,
        pause: Duration::from_micros(micros),
    })
}

#[test]
fn each_reply_reaches_its_own_call_during_faults() {
    let server = Server::start();
    let loads = prop::collection::vec(load(), 1..6);
    let kills = prop::collection::vec((0_u64..4, 0_u64..5_000), 1..30);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
    let strategy = (loads, kills, 1_usize..4);
    let law = |(loads, kills, connections): (Vec<Load>, Vec<(u64, u64)>, usize)| {
        server.run("FLUSHALL");
        let mut config = with_long_timeout(server.endpoint());
        config.connections = connections.try_into().unwrap();
        let caller = Caller::connected(config);
        let running = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                for (number, micros) in kills.iter().cycle() {
                    if !running.load(Ordering::Relaxed) {
                        return;
                    }
                    inject_fault(&server, *number);
                    std::thread::sleep(Duration::from_micros(*micros));
                }
            });
            let threads: Vec<_> = loads
                .iter()
                .enumerate()
                .map(|(thread, load)| {
                    let caller = &caller;
                    scope.spawn(move || make_calls(caller, thread as u64, load))
                })
                .collect();
            let results: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
            running.store(false, Ordering::Relaxed);
            killer.join().unwrap();
            for result in results {
                result.unwrap();
            }
        });
        Ok(())
    };
    runner.run(&strategy, law).unwrap();
}

fn inject_fault(server: &Server, number: u64) {
    match number {
        0 | 1 => server.run("CLIENT KILL TYPE normal SKIPME yes"),
        2 => server.run("SCRIPT FLUSH"),
        _ => server.run("CLIENT PAUSE 3 ALL"),
    };
}

/// Makes calls, each of a unique cost, by which its answer is recognised.
fn make_calls(caller: &Caller, thread: u64, load: &Load) {
    let (answers, answered) = channel();
    let costs: Vec<u64> = (1..=load.calls)
        .map(|number| thread * 1_000 + number)
        .collect();
    for (number, cost) in costs.iter().enumerate() {
        caller.send(caller.call(&format!("id{cost}"), *cost), &answers);
        if (number as u64).is_multiple_of(load.pause_after) {
            std::thread::sleep(load.pause);
        }
    }
    drop(answers);
    let mut seen = HashSet::new();
    for _ in &costs {
        let (cost, answer) = answered
            .recv_timeout(MAX_WAIT)
            .expect("every call is answered");
        assert!(seen.insert(cost), "answered twice: {cost}");
        if let Ok(reply) = answer.result {
            assert!(is_reply_to(&reply, cost), "{cost} got {reply:?}");
        }
    }
    let more = answered.recv_timeout(MAX_WAIT);
    assert!(more.is_err(), "more answers than calls");
}
