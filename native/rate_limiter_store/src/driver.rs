//! The thread of a client: hands calls to workers, hands out replies, keeps deadlines, and drives the breaker.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rate_limiter_core::{Limit, Scale};
use rate_limiter_distributed::breaker::{Breaker, Change};
use rate_limiter_distributed::{BreakerState, Call, Failure, Meter, Op, WindowCall};

use crate::batch::{group, Decided, KeyCalls};
use crate::client::{Config, Failed, Workers};
use crate::pending::{Pending, Waiting};
use crate::status::Live;

/// The most calls in a batch.
const MAX_BATCH: usize = 256;

/// How long the thread sleeps at most.
const IDLE: Duration = Duration::from_mins(1);

pub(crate) enum Message {
    Calls(Vec<(usize, Pending)>),
    Joined(usize),
    Finished(usize, u64, Vec<Result<Decided, Failed>>),
    Probed(bool),
    Stop,
}

pub(crate) struct Driver {
    config: Config,
    workers: Arc<dyn Workers>,
    live: Arc<Live>,
    own_inbox: Sender<Message>,
    lanes: Vec<Lane>,
    breaker: Breaker,
    probe: Call,
    next_number: u64,
}

/// The calls of one worker.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Pending>,
    is_joined: bool,
    flight: Option<Flight>,
}

/// A batch that a worker has.
struct Flight {
    number: u64,
    keys: Vec<(Arc<KeyCalls>, Vec<Waiting>)>,
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        workers: Arc<dyn Workers>,
        live: Arc<Live>,
        own_inbox: Sender<Message>,
    ) -> Self {
        Self {
            lanes: (0..config.workers.max(1))
                .map(|_| Lane::default())
                .collect(),
            probe: probe(&config.prefix),
            config,
            workers,
            live,
            own_inbox,
            breaker: Breaker::default(),
            next_number: 1,
        }
    }

    /// Runs until the client stops.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let now = Instant::now();
            self.expire(now);
            self.probe(now);
            self.hand_out();
            let pause = self
                .due(now)
                .map_or(IDLE, |due| due.saturating_duration_since(now));
            let first = match messages.recv_timeout(pause) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // All that has arrived, so that calls that wait at the same time go together.
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Calls(calls) => {
                        for (worker, pending) in calls {
                            self.lanes[worker].queue.push_back(pending);
                        }
                    }
                    Message::Joined(worker) => self.joined(worker),
                    Message::Finished(worker, number, results) => {
                        self.finished(worker, number, results);
                    }
                    Message::Probed(true) => {
                        // The store may have lost data while it was away.
                        self.live.epoch.fetch_add(1, Ordering::Relaxed);
                        let change = self.breaker.probe_succeeded(Instant::now());
                        self.changed(change, "a probe was answered");
                    }
                    Message::Probed(false) => {
                        let change = self.breaker.probe_failed(Instant::now(), jitter());
                        self.changed(change, "a probe failed");
                    }
                    // Dropping the calls answers them.
                    Message::Stop => return,
                }
            }
        }
    }

    fn joined(&mut self, worker: usize) {
        let Some(lane) = self.lanes.get_mut(worker) else {
            return;
        };
        if !std::mem::replace(&mut lane.is_joined, true) {
            self.live.workers.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(flight) = lane.flight.take() {
            let failed = Failed {
                is_certain: false,
                reason: "its worker has ended".into(),
            };
            let results = flight.keys.iter().map(|_| Err(failed.clone())).collect();
            self.answer(flight, results);
        }
    }

    fn finished(&mut self, worker: usize, number: u64, results: Vec<Result<Decided, Failed>>) {
        let Some(lane) = self.lanes.get_mut(worker) else {
            return;
        };
        // A batch that another worker of this number has given up.
        if let Some(flight) = lane.flight.take_if(|flight| flight.number == number) {
            self.answer(flight, results);
        }
    }

    fn answer(&mut self, flight: Flight, results: Vec<Result<Decided, Failed>>) {
        let mut results = results.into_iter();
        for (calls, mut waiting) in flight.keys {
            let late = waiting.iter().all(Waiting::is_answered);
            let decided = results
                .next()
                .unwrap_or_else(|| Err(nonsense("fewer results than keys")));
            let replies = decided.and_then(|decided| {
                decided
                    .of(&calls)
                    .ok_or_else(|| nonsense("the reply of another update"))
            });
            let open = waiting
                .iter()
                .filter(|waiting| !waiting.is_answered())
                .count();
            self.live.dequeue(open);
            match replies {
                Ok(replies) => {
                    self.live.calls.fetch_add(open as u64, Ordering::Relaxed);
                    if !late {
                        self.live.set_problem(None);
                        self.breaker.succeed();
                    }
                    for (waiting, reply) in waiting.iter_mut().zip(replies) {
                        waiting.answer(reply);
                    }
                }
                Err(failed) => {
                    self.live.refused.fetch_add(open as u64, Ordering::Relaxed);
                    self.failed(&failed.reason);
                    for waiting in &mut waiting {
                        waiting.answer(Err(failure(&failed)));
                    }
                }
            }
        }
    }

    /// Gives a batch to each worker that has none.
    fn hand_out(&mut self) {
        for worker in 0..self.lanes.len() {
            let lane = &mut self.lanes[worker];
            if !lane.is_joined || lane.flight.is_some() || lane.queue.is_empty() {
                continue;
            }
            let count = lane.queue.len().min(MAX_BATCH);
            let mut keys = group(lane.queue.drain(..count).collect());
            let calls: Vec<Arc<KeyCalls>> =
                keys.iter().map(|(calls, _)| Arc::clone(calls)).collect();
            let number = self.next_number;
            self.next_number += 1;
            if self.workers.start(worker, number, &calls) {
                for waiting in keys.iter_mut().flat_map(|(_, waiting)| waiting) {
                    waiting.is_sent = true;
                }
                lane.flight = Some(Flight { number, keys });
                self.live.batches.fetch_add(1, Ordering::Relaxed);
            } else {
                lane.is_joined = false;
                self.live.workers.fetch_sub(1, Ordering::Relaxed);
                self.live.dequeue(count);
                self.failed("its workers have ended");
            }
        }
    }

    /// Answers the calls whose deadline has passed.
    fn expire(&mut self, now: Instant) {
        let mut expired = 0;
        for lane in &mut self.lanes {
            while lane
                .queue
                .front()
                .is_some_and(|pending| pending.waiting.deadline <= now)
            {
                drop(lane.queue.pop_front());
                expired += 1;
            }
            let keys = lane.flight.iter_mut().flat_map(|flight| &mut flight.keys);
            for waiting in keys.flat_map(|(_, waiting)| waiting) {
                if !waiting.is_answered() && waiting.deadline <= now {
                    waiting.answer(Err(Failure::Lost));
                    expired += 1;
                }
            }
        }
        self.live.dequeue(expired);
        self.live
            .timeouts
            .fetch_add(expired as u64, Ordering::Relaxed);
        for _ in 0..expired {
            self.failed(&format!("no answer within {:?}", self.config.timeout));
        }
    }

    /// Returns when something is to be done.
    fn due(&self, now: Instant) -> Option<Instant> {
        let queued = self.lanes.iter().filter_map(|lane| lane.queue.front());
        let queued = queued.map(|pending| pending.waiting.deadline);
        let flights = self.lanes.iter().filter_map(|lane| lane.flight.as_ref());
        let flying = flights
            .flat_map(|flight| &flight.keys)
            .flat_map(|(_, waiting)| waiting);
        let flying = flying.filter(|waiting| !waiting.is_answered());
        let flying = flying.map(|waiting| waiting.deadline);
        let probe = self
            .breaker
            .probe_at()
            .filter(|_| self.idle_lane().is_some());
        // Without a worker a probe waits: it is tried again after as long as a call waits.
        let retry = self
            .breaker
            .probe_at()
            .map(|due| due.max(now + self.config.timeout));
        queued.chain(flying).chain(probe).chain(retry).min()
    }

    fn probe(&mut self, now: Instant) {
        let Some(lane) = self.idle_lane() else { return };
        let change = self.breaker.probe(now);
        if change.is_none() {
            return;
        }
        self.changed(change, "a probe is due");
        let inbox = self.own_inbox.clone();
        // The thread may have stopped.
        let done = move |result: Result<_, _>| drop(inbox.send(Message::Probed(result.is_ok())));
        let deadline = now + self.config.timeout;
        let pending = Pending::new(self.probe.clone(), Box::new(done), deadline);
        self.live.enqueue();
        self.lanes[lane].queue.push_back(pending);
    }

    fn idle_lane(&self) -> Option<usize> {
        let is_idle = |lane: &Lane| lane.is_joined && lane.flight.is_none();
        self.lanes.iter().position(is_idle)
    }

    fn failed(&mut self, reason: &str) {
        self.live.epoch.fetch_add(1, Ordering::Relaxed);
        self.live.set_problem(Some(reason));
        let change = self.breaker.fail(Instant::now(), jitter());
        self.changed(change, reason);
    }

    fn changed(&mut self, change: Change, reason: &str) {
        let Some((from, to)) = change else { return };
        self.live.set_breaker(to);
        if to == BreakerState::Open && from == BreakerState::Closed {
            self.live.opened.fetch_add(1, Ordering::Relaxed);
        }
        self.workers.breaker(from, to, reason);
    }
}

fn nonsense(got: &str) -> Failed {
    Failed {
        is_certain: false,
        reason: format!("expected {{:ok, reply}} with the reply of the function, got: {got}")
            .into(),
    }
}

fn failure(failed: &Failed) -> Failure {
    if !failed.is_certain {
        return Failure::Lost;
    }
    Failure::Refused {
        code: "STORE".into(),
        message: failed.reason.clone(),
    }
}

fn jitter() -> u64 {
    RandomState::new().hash_one(0)
}

/// Returns a call that writes as all calls do. A limiter's key has a colon in its braces, so this key belongs to none.
fn probe(prefix: &str) -> Call {
    let limit = Limit::token_bucket(1_000, Duration::from_secs(1));
    let meter = Meter::new("probe", &limit).expect("a thousand per second is in range");
    let meter = Arc::new(meter);
    Call {
        key: format!("{prefix}:{{!probe}}").into_bytes().into(),
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
