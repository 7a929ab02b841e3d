//! The live status of a server: written by its task, read by callers on any thread.

use std::sync::atomic::{AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rate_limiter_distributed::breaker::State;

use super::recent::{Recent, Tally};
use crate::config::Endpoint;
use crate::latency::LiveLatency;
use crate::status::ServerStatus;

/// All accesses are relaxed: each field is read by itself, and calls reach the task through its queue.
#[derive(Debug)]
pub(super) struct LiveStatus {
    pub(super) endpoint: Endpoint,
    /// The endpoint as text.
    pub(super) name: Box<str>,
    max_queue: usize,
    /// Calls submitted, and not yet sent or answered.
    queued: AtomicUsize,
    in_flight: AtomicUsize,
    /// Calls that callers could not submit, and that are not among the recent ones yet.
    unsent: AtomicU64,
    recent: Mutex<Recent>,
    connections: AtomicUsize,
    round_trip_us: AtomicU64,
    pub(super) answered: LiveLatency,
    pub(super) failed: LiveLatency,
    breaker: AtomicU8,
    opened: AtomicU64,
    problem: Mutex<Option<String>>,
    eviction_policy: Mutex<Option<Box<str>>>,
}

impl LiveStatus {
    pub(super) fn new(endpoint: Endpoint, max_queue: usize) -> Self {
        Self {
            name: endpoint.to_string().into(),
            endpoint,
            max_queue,
            queued: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            unsent: AtomicU64::new(0),
            recent: Mutex::new(Recent::new(Instant::now())),
            connections: AtomicUsize::new(0),
            round_trip_us: AtomicU64::new(0),
            answered: LiveLatency::default(),
            failed: LiveLatency::default(),
            breaker: AtomicU8::new(State::Closed as u8),
            opened: AtomicU64::new(0),
            problem: Mutex::default(),
            eviction_policy: Mutex::default(),
        }
    }

    /// Reserves a place in the queue, unless it is full.
    pub(super) fn try_enqueue(&self) -> bool {
        // Added first and undone if it is too many, so that two callers cannot both take the last place.
        let placed = self.queued.fetch_add(1, Ordering::Relaxed) < self.max_queue;
        if !placed {
            self.dequeue(1);
        }
        placed
    }

    pub(super) fn enqueue(&self, calls: usize) {
        self.queued.fetch_add(calls, Ordering::Relaxed);
    }

    pub(super) fn dequeue(&self, calls: usize) {
        self.queued.fetch_sub(calls, Ordering::Relaxed);
    }

    /// Counts a call that was not accepted.
    pub(super) fn unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts calls that were answered or failed.
    pub(super) fn count(&self, now: Instant, tally: Tally) {
        let unsent = self.unsent.load(Ordering::Relaxed);
        if tally != Tally::default() || unsent > 0 {
            self.count_unsent(&mut self.recent.lock(), now, tally);
        }
    }

    fn count_unsent(&self, recent: &mut Recent, now: Instant, tally: Tally) {
        let unsent = self.unsent.swap(0, Ordering::Relaxed);
        let (calls, failures) = (tally.calls + unsent, tally.failures + unsent);
        recent.add(now, Tally { calls, failures });
    }

    /// Sets why the latest call had no answer.
    pub(super) fn set_failure(&self, reason: &str) {
        self.recent.lock().set_reason(reason);
    }

    pub(super) fn breaker(&self) -> State {
        match self.breaker.load(Ordering::Relaxed) {
            closed if closed == State::Closed as u8 => State::Closed,
            open if open == State::Open as u8 => State::Open,
            _ => State::HalfOpen,
        }
    }

    pub(super) fn set_breaker(&self, state: State) {
        self.breaker.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_connections(&self, connections: usize, in_flight: usize) {
        self.connections.store(connections, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    pub(super) fn set_round_trip(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.round_trip_us.store(us, Ordering::Relaxed);
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    /// Sets the policy by which the server evicts keys, and returns whether it differs from the previous one.
    pub(super) fn set_eviction_policy(&self, policy: Option<&str>) -> bool {
        let mut known = self.eviction_policy.lock();
        let is_new = known.as_deref() != policy;
        *known = policy.map(Box::from);
        is_new
    }

    pub(super) fn snapshot(&self) -> ServerStatus {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let now = Instant::now();
        let mut recent = self.recent.lock();
        self.count_unsent(&mut recent, now, Tally::default());
        let tally = recent.tally(now);
        let failure = recent.reason(now).filter(|_| tally.is_failing());
        ServerStatus {
            server: self.name.to_string(),
            breaker: self.breaker(),
            connections: read(&self.connections),
            pending: read(&self.queued) + read(&self.in_flight),
            round_trip: Duration::from_micros(self.round_trip_us.load(Ordering::Relaxed)),
            answered: self.answered.snapshot(),
            failed: self.failed.snapshot(),
            opened: self.opened.load(Ordering::Relaxed),
            recent_calls: tally.calls,
            recent_failures: tally.failures,
            is_failing: tally.is_failing(),
            problem: self
                .problem
                .lock()
                .clone()
                .or_else(|| failure.map(str::to_owned)),
            evicts: self.eviction_policy.lock().clone().map(String::from),
        }
    }
}
