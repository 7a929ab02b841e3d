//! A reply for one call never reaches another, whatever fails in between.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::caller::{is_for, patient, Caller, PATIENCE};
use crate::servers::Server;

/// How one of the threads that ask goes about it.
#[derive(Clone, Debug)]
struct Habit {
    calls: u64,
    pause_after: u64,
    pause: Duration,
}

fn habit() -> impl Strategy<Value = Habit> {
    (50_u64..400, 1_u64..50, 0_u64..2_000).prop_map(|(calls, pause_after, micros)| Habit {
        calls,
        pause_after,
        pause: Duration::from_micros(micros),
    })
}

#[test]
fn replies_reach_whoever_asked_and_nobody_else_whatever_is_killed_meanwhile() {
    let server = Server::start();
    let habits = prop::collection::vec(habit(), 1..6);
    let kills = prop::collection::vec((0_u64..4, 0_u64..5_000), 1..30);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
    let strategy = (habits, kills, 1_usize..4);
    let law = |(habits, kills, connections): (Vec<Habit>, Vec<(u64, u64)>, usize)| {
        server.tell("FLUSHALL");
        let mut config = patient(server.endpoint());
        config.connections = connections.try_into().unwrap();
        let caller = Caller::ready(config);
        let asking = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                for (what, micros) in kills.iter().cycle() {
                    if !asking.load(Ordering::Relaxed) {
                        return;
                    }
                    break_something(&server, *what);
                    std::thread::sleep(Duration::from_micros(*micros));
                }
            });
            let askers: Vec<_> = habits
                .iter()
                .enumerate()
                .map(|(asker, habit)| {
                    let caller = &caller;
                    scope.spawn(move || ask(caller, asker as u64, habit))
                })
                .collect();
            let results: Vec<_> = askers.into_iter().map(ScopedJoinHandle::join).collect();
            asking.store(false, Ordering::Relaxed);
            killer.join().unwrap();
            for result in results {
                result.unwrap();
            }
        });
        Ok(())
    };
    runner.run(&strategy, law).unwrap();
}

fn break_something(server: &Server, what: u64) {
    match what {
        0 | 1 => server.tell("CLIENT KILL TYPE normal SKIPME yes"),
        2 => server.tell("SCRIPT FLUSH"),
        _ => server.tell("CLIENT PAUSE 3 ALL"),
    };
}

/// Each call has a cost that no other has, by which its answer is known.
fn ask(caller: &Caller, asker: u64, habit: &Habit) {
    let (answers, answered) = channel();
    let tags: Vec<u64> = (1..=habit.calls)
        .map(|number| asker * 1_000 + number)
        .collect();
    for (number, tag) in tags.iter().enumerate() {
        caller.send(caller.call(&format!("id{tag}"), *tag), &answers);
        if (number as u64).is_multiple_of(habit.pause_after) {
            std::thread::sleep(habit.pause);
        }
    }
    drop(answers);
    let mut seen = HashSet::new();
    for _ in &tags {
        let (tag, answer) = answered
            .recv_timeout(PATIENCE)
            .expect("every call is answered");
        assert!(seen.insert(tag), "answered twice: {tag}");
        if let Ok(reply) = answer.result {
            assert!(is_for(&reply, tag), "{tag} got {reply:?}");
        }
    }
    let more = answered.recv_timeout(PATIENCE);
    assert!(more.is_err(), "more answers than calls");
}
