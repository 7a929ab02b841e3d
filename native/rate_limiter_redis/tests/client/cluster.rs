//! Slots are followed from node to node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use rate_limiter_distributed::{Authority, Done};
use rate_limiter_redis::{Config, Topology};

use crate::caller::{assert_in_time, hasty, is_for, patient, Answer, Caller, PATIENCE};
use crate::servers::{until, Cluster};

fn config(cluster: &Cluster) -> Config {
    Config {
        topology: Topology::Cluster {
            seeds: cluster.endpoints(),
        },
        ..patient(cluster.nodes[0].endpoint())
    }
}

#[test]
fn calls_go_where_their_slots_are_in_one_round() {
    let cluster = Cluster::start();
    let caller = Caller::ready(config(&cluster));
    let (answers, answered) = channel();
    let calls = (1..=600_u64).map(|cost| {
        let answers = answers.clone();
        let done: Done = Box::new(move |result| {
            let took = Duration::ZERO;
            answers.send((cost, Answer { result, took })).unwrap();
        });
        (caller.call(&format!("id{cost}"), cost), done)
    });
    assert!(caller.client.send_batch(calls.collect()).is_empty());
    for _ in 0..600 {
        let (cost, answer) = answered.recv_timeout(PATIENCE).unwrap();
        assert!(is_for(&answer.result.unwrap(), cost));
    }
    assert_eq!(caller.client.status().servers.len(), 3);
    assert_eq!(caller.client.status().totals.batches, 3);
}

#[test]
fn a_slot_that_moves_under_load_loses_no_call() {
    let mut cluster = Cluster::start();
    let caller = Caller::ready(config(&cluster));
    let slot = cluster.slot("mover");
    let (from, to) = (Cluster::owner(slot), cluster.join());
    let (moving, made) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            while moving.load(Ordering::Relaxed) {
                let cost = made.fetch_add(1, Ordering::Relaxed) + 1;
                // All of one slot, since only what is in the first braces counts.
                let answer = caller.ask(&format!("mover}}{cost}"), cost);
                assert!(is_for(&answer.result.unwrap(), cost));
            }
        });
        let calls = |more| {
            let target = made.load(Ordering::Relaxed) + more;
            let reached = || made.load(Ordering::Relaxed) >= target || asker.is_finished();
            until("calls are made", PATIENCE, reached);
        };
        calls(50);
        cluster.begin_to_move(slot, from, to);
        calls(50);
        while cluster.move_keys(slot, from, to) > 0 {
            calls(5);
        }
        cluster.end_move(slot, to);
        calls(50);
        moving.store(false, Ordering::Relaxed);
        asker.join().unwrap();
    });
    let there = cluster.nodes[to].tell(&format!("CLUSTER COUNTKEYSINSLOT {slot}"));
    let there: u64 = redis::from_redis_value(there).unwrap();
    assert!(
        there >= made.load(Ordering::Relaxed),
        "{there} keys arrived"
    );
}

#[test]
fn a_primary_that_is_lost_takes_none_but_its_own_slots_along() {
    let mut cluster = Cluster::start();
    let caller = Caller::ready(Config {
        timeout: hasty(cluster.nodes[0].endpoint()).timeout,
        ..config(&cluster)
    });
    let id_at = |node: usize| {
        let ids = (0..).map(|number| format!("id{number}"));
        let mut ids = ids.filter(|id| Cluster::owner(cluster.slot(&format!("{{{id}}}"))) == node);
        ids.next().unwrap()
    };
    let (lost, kept) = (id_at(1), id_at(2));
    caller.assert_counts(&lost, 1);
    cluster.lose(1);
    let mut told = 0;
    until("the breaker of one opens", PATIENCE, || {
        assert_in_time(&caller.ask(&lost, 1));
        told = caller.told.breaker.lock().unwrap().len();
        told > 0
    });
    caller.assert_counts(&kept, 2);
    cluster.wait_until_promoted(4);
    let there = caller.ask_until_answered(&lost, 3);
    assert!(there.windows[0].remaining < crate::caller::MAX);
    assert!(caller.client.epoch() > 0);
}

#[test]
fn a_node_that_is_taken_for_a_server_of_its_own_is_not_trusted() {
    let cluster = Cluster::start();
    // The client tries a server by this key, unless it knows that it is one of a cluster.
    let owner = Cluster::owner(cluster.slot("!probe"));
    let caller = Caller::with(patient(cluster.nodes[(owner + 1) % 3].endpoint()));
    caller.wait_until_open();
    caller.wait_until_heard("got: a node of a cluster");
}
