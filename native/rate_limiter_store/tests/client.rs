//! The client over workers that the test controls.

use std::collections::HashMap;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rate_limiter_core::{Limit, Nanos, Scale};
use rate_limiter_distributed::{
    Authority, BreakerState, Call, Failure, Meter, Op, Reply, WindowCall,
};
use rate_limiter_store::{Client, Config, Failed, KeyCalls, Workers, Write};

const NOW: Nanos = Nanos(1_700_000_000_000_000_000);
const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(20);

type Handed = (usize, u64, Vec<Arc<KeyCalls>>);

/// Passes batches to the test.
struct Hands {
    batches: Sender<Handed>,
    exist: Mutex<bool>,
    changes: Mutex<Vec<(BreakerState, BreakerState)>>,
}

impl Workers for Hands {
    fn start(&self, worker: usize, number: u64, keys: &[Arc<KeyCalls>]) -> bool {
        let exist = *self.exist.lock().expect("no panic");
        exist && self.batches.send((worker, number, keys.to_vec())).is_ok()
    }

    fn breaker(&self, from: BreakerState, to: BreakerState, _reason: &str) {
        self.changes.lock().expect("no panic").push((from, to));
    }
}

struct Rig {
    client: Arc<Client>,
    hands: Arc<Hands>,
    batches: Receiver<Handed>,
    values: HashMap<Vec<u8>, Vec<u8>>,
}

impl Rig {
    fn new(workers: usize, timeout: Duration, max_queue: usize) -> Self {
        let (sender, batches) = channel();
        let hands = Arc::new(Hands {
            batches: sender,
            exist: Mutex::new(true),
            changes: Mutex::default(),
        });
        let config = Config {
            timeout,
            workers,
            max_queue,
            prefix: "test".into(),
        };
        let client = Client::start(config, Arc::clone(&hands) as Arc<dyn Workers>);
        let client = client.expect("a thread");
        for worker in 0..workers {
            client.join(worker);
        }
        Self {
            client,
            hands,
            batches,
            values: HashMap::new(),
        }
    }

    fn send(&self, id: &str) -> Receiver<Result<Reply, Failure>> {
        let (sender, answer) = channel();
        let done = move |result| drop(sender.send(result));
        let unsent = self.client.send(call(id), Box::new(done));
        assert!(unsent.is_ok(), "a call that is accepted");
        answer
    }

    fn batch(&self) -> Handed {
        self.batches.recv_timeout(LATE).expect("a batch")
    }

    /// Works as a store does.
    fn work(&mut self, (worker, number, keys): Handed) {
        let results = keys.iter().map(|calls| {
            let value = self.values.get(calls.key()).map(Vec::as_slice);
            let (write, decided) = calls.decide(value, NOW);
            if let Write::Put(value, _) = write {
                self.values.insert(calls.key().to_vec(), value);
            }
            Ok(decided)
        });
        let results = results.collect();
        self.client.finish(worker, number, results);
    }

    fn fail(&self, (worker, number, keys): Handed, is_certain: bool) {
        let reason = "broken".into();
        let failed = Failed { is_certain, reason };
        let results = keys.iter().map(|_| Err(failed.clone())).collect();
        self.client.finish(worker, number, results);
    }
}

fn call(id: &str) -> Call {
    let limit = Limit::fixed_window(3, Duration::from_hours(1));
    let meter = Arc::new(Meter::new("w", &limit).expect("a valid limit"));
    Call {
        key: id.as_bytes().into(),
        op: Op::Take,
        cost: 1,
        scale: Scale::ONE,
        windows: Box::new([WindowCall {
            meter,
            charge: None,
        }]),
        request_id: None,
        receipt: None,
        named: Vec::new(),
    }
}

fn remaining(answer: &Receiver<Result<Reply, Failure>>) -> (bool, u64) {
    let reply = answer
        .recv_timeout(LATE)
        .expect("an answer")
        .expect("a reply");
    let usage = reply.windows[0].usage;
    (usage.allowed(), usage.remaining)
}

fn failure(answer: &Receiver<Result<Reply, Failure>>) -> Failure {
    answer
        .recv_timeout(LATE)
        .expect("an answer")
        .expect_err("no reply")
}

#[test]
fn calls_that_wait_for_a_busy_worker_are_its_next_batch() {
    let mut rig = Rig::new(1, LATE, 100);
    let first = rig.send("a");
    let busy = rig.batch();
    let others = ["a", "b", "a", "a"].map(|id| rig.send(id));
    rig.work(busy);
    assert_eq!(remaining(&first), (true, 2));
    let batch = rig.batch();
    assert_eq!(batch.2.len(), 2, "one update for each key");
    rig.work(batch);
    let answers = others.each_ref().map(remaining);
    assert_eq!(answers, [(true, 1), (true, 2), (true, 0), (false, 0)]);
    assert_eq!(rig.client.status().calls, 5);
}

#[test]
fn calls_about_one_key_go_to_one_worker() {
    let rig = Rig::new(8, LATE, 100);
    let _first = rig.send("a");
    let (worker, ..) = rig.batch();
    let _second = rig.send("a");
    assert!(
        rig.batches.recv_timeout(SOON).is_err(),
        "it waits for its worker"
    );
    rig.client.join(worker);
    assert_eq!(rig.batch().0, worker);
}

#[test]
fn a_call_is_answered_by_its_deadline_and_a_late_reply_is_ignored() {
    let mut rig = Rig::new(1, SOON, 100);
    let sent = Instant::now();
    let (hung, queued) = (rig.send("a"), { rig.batch() });
    let waiting = rig.send("b");
    assert_eq!(failure(&hung), Failure::Lost);
    assert_eq!(failure(&waiting), Failure::Away);
    assert!(sent.elapsed() >= SOON);
    rig.work(queued);
    let next = rig.send("c");
    let batch = rig.batch();
    rig.work(batch);
    assert_eq!(remaining(&next), (true, 2));
    assert_eq!(
        (rig.client.status().timeouts, rig.client.status().pending),
        (2, 0)
    );
}

#[test]
fn a_failure_says_whether_something_may_have_been_stored() {
    let rig = Rig::new(1, LATE, 100);
    let epoch = rig.client.epoch();
    for is_certain in [true, false] {
        let answer = rig.send("a");
        let batch = rig.batch();
        rig.fail(batch, is_certain);
        assert_eq!(
            matches!(failure(&answer), Failure::Refused { .. }),
            is_certain
        );
    }
    assert!(rig.client.epoch() > epoch);
    assert_eq!(rig.client.status().problem.as_deref(), Some("broken"));
}

#[test]
fn the_breaker_opens_after_failures_and_a_probe_closes_it() {
    let mut rig = Rig::new(1, LATE, 100);
    for _failure in 0..5 {
        let answer = rig.send("a");
        let batch = rig.batch();
        rig.fail(batch, true);
        failure(&answer);
    }
    let refused = rig.client.send(call("a"), Box::new(drop));
    assert_eq!(
        refused.err().map(|unsent| unsent.failure),
        Some(Failure::Away)
    );
    let probe = rig.batch();
    assert_eq!(probe.2[0].key(), b"test:{!probe}");
    rig.fail(probe, true);
    let probe = rig.batch();
    rig.work(probe);
    while rig.client.status().breaker != BreakerState::Closed {
        std::thread::yield_now();
    }
    let answer = rig.send("b");
    let batch = rig.batch();
    rig.work(batch);
    assert_eq!(remaining(&answer), (true, 2));
    let (closed, open, half) = (
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
    );
    let changes = [
        (closed, open),
        (open, half),
        (half, open),
        (open, half),
        (half, closed),
    ];
    assert_eq!(*rig.hands.changes.lock().expect("no panic"), changes);
    assert_eq!(rig.client.status().opened, 1);
}

#[test]
fn a_batch_is_lost_with_its_worker_and_a_reply_counts_once() {
    let mut rig = Rig::new(1, LATE, 100);
    let answer = rig.send("a");
    let batch = rig.batch();
    rig.client.join(0);
    assert_eq!(failure(&answer), Failure::Lost);
    let next = rig.send("a");
    let (worker, number, keys) = rig.batch();
    // The old worker was slow, and finishes its batch now.
    rig.work(batch);
    rig.work((worker, number, keys));
    assert_eq!(remaining(&next), (true, 1));
}

#[test]
fn without_workers_calls_are_answered_at_once() {
    let rig = Rig::new(1, LATE, 100);
    *rig.hands.exist.lock().expect("no panic") = false;
    assert_eq!(failure(&rig.send("a")), Failure::Away);
    assert_eq!(rig.client.status().workers, 0);
}

#[test]
fn a_full_queue_and_a_stopped_client_accept_nothing() {
    let rig = Rig::new(1, LATE, 2);
    let answers = [rig.send("a"), rig.send("b")];
    let full = rig.client.send(call("c"), Box::new(drop));
    assert_eq!(full.err().map(|unsent| unsent.failure), Some(Failure::Full));
    rig.client.stop();
    for answer in &answers {
        assert!(matches!(failure(answer), Failure::Away | Failure::Lost));
    }
    while rig.client.send(call("d"), Box::new(drop)).is_ok() {}
}

#[test]
fn fewer_results_than_keys_or_those_of_others_are_failures() {
    let rig = Rig::new(1, LATE, 100);
    let answer = rig.send("a");
    let (worker, number, keys) = rig.batch();
    let (_, foreign) = KeyCalls::new(vec![call("a")]).decide(None, NOW);
    rig.client.finish(worker, number, vec![Ok(foreign)]);
    assert_eq!(failure(&answer), Failure::Lost);
    drop(keys);
    let answer = rig.send("a");
    let (worker, number, _) = rig.batch();
    rig.client.finish(worker, number, Vec::new());
    assert_eq!(failure(&answer), Failure::Lost);
}
