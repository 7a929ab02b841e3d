//! The client follows the slots of a cluster.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use rate_limiter_distributed::{Authority, Done};
use rate_limiter_redis::{Config, Credentials, Topology};

use crate::caller::{
    assert_in_time, is_reply_to, with_long_timeout, with_short_timeout, Answer, Caller, MAX_WAIT,
};
use crate::servers::{until, Cluster};

fn config(cluster: &Cluster) -> Config {
    Config {
        topology: Topology::Cluster {
            seeds: cluster.endpoints(),
        },
        ..with_long_timeout(cluster.nodes[0].endpoint())
    }
}

#[test]
fn a_batch_takes_one_round_trip_to_each_owner() {
    let cluster = Cluster::start();
    let caller = Caller::connected(config(&cluster));
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
        let (cost, answer) = answered.recv_timeout(MAX_WAIT).unwrap();
        assert!(is_reply_to(&answer.result.unwrap(), cost));
    }
    assert_eq!(caller.client.status().servers.len(), 3);
    assert_eq!(caller.client.status().totals.batches, 3);
}

/// The node that imports the slot lacks the script, and `EVAL` alone may load it there.
#[test]
fn no_call_fails_while_a_slot_moves_without_the_right_to_script() {
    let mut cluster = Cluster::start();
    let importer = cluster.join();
    for node in &cluster.nodes {
        let rights = "+evalsha +eval +mget +exists +set +del +time +asking +cluster|slots";
        node.run(&format!("ACL SETUSER limiter on >secret ~* -@all {rights}"));
    }
    let config = Config {
        credentials: Credentials::new(Some("limiter"), Some("secret")),
        ..config(&cluster)
    };
    let caller = Caller::connected(config);
    let slot = cluster.slot("mover");
    let from = Cluster::owner(slot);
    // No key is there yet: each call of the slot is redirected to the new node.
    cluster.begin_to_move(slot, from, importer);
    for cost in 1..=20 {
        let answer = caller.check(&format!("mover}}{cost}"), cost);
        assert!(is_reply_to(&answer.result.unwrap(), cost));
    }
}

#[test]
fn no_call_fails_while_a_slot_moves() {
    let mut cluster = Cluster::start();
    let caller = Caller::connected(config(&cluster));
    let slot = cluster.slot("mover");
    let (from, to) = (Cluster::owner(slot), cluster.join());
    let (moving, made) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            while moving.load(Ordering::Relaxed) {
                let cost = made.fetch_add(1, Ordering::Relaxed) + 1;
                // All in one slot: only the first hash tag counts.
                let answer = caller.check(&format!("mover}}{cost}"), cost);
                assert!(is_reply_to(&answer.result.unwrap(), cost));
            }
        });
        let calls = |more| {
            let target = made.load(Ordering::Relaxed) + more;
            let reached = || made.load(Ordering::Relaxed) >= target || asker.is_finished();
            until("calls are made", MAX_WAIT, reached);
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
    let there = cluster.nodes[to].run(&format!("CLUSTER COUNTKEYSINSLOT {slot}"));
    let there: u64 = redis::from_redis_value(there).unwrap();
    assert!(
        there >= made.load(Ordering::Relaxed),
        "{there} keys were moved"
    );
}

#[test]
fn a_lost_primary_affects_only_its_own_slots() {
    let mut cluster = Cluster::start();
    let caller = Caller::connected(Config {
        timeout: with_short_timeout(cluster.nodes[0].endpoint()).timeout,
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
    until("the breaker of the lost primary opens", MAX_WAIT, || {
        assert_in_time(&caller.check(&lost, 1));
        !caller.events.breaker.lock().unwrap().is_empty()
    });
    caller.assert_counts(&kept, 2);
    cluster.wait_until_promoted(4);
    let there = caller.check_until_answered(&lost, 3);
    assert!(there.windows[0].usage.remaining < crate::caller::MAX);
    assert!(caller.client.epoch() > 0);
}

#[test]
fn a_cluster_node_is_refused_as_a_single_server() {
    let cluster = Cluster::start();
    // The key of a single server's health check.
    let owner = Cluster::owner(cluster.slot("!probe"));
    let caller = Caller::with(with_long_timeout(cluster.nodes[(owner + 1) % 3].endpoint()));
    caller.wait_until_open();
    caller.wait_for_connection_event("got: a node of a cluster");
}
