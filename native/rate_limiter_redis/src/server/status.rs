//! The live status of a server: written by its task, read by callers on any thread.

use std::sync::atomic::{AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rate_limiter_distributed::breaker::State;

use crate::config::Endpoint;
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
    connections: AtomicUsize,
    round_trip_us: AtomicU64,
    breaker: AtomicU8,
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
            connections: AtomicUsize::new(0),
            round_trip_us: AtomicU64::new(0),
            breaker: AtomicU8::new(State::Closed as u8),
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
        ServerStatus {
            server: self.name.to_string(),
            breaker: self.breaker(),
            connections: read(&self.connections),
            pending: read(&self.queued) + read(&self.in_flight),
            round_trip: Duration::from_micros(self.round_trip_us.load(Ordering::Relaxed)),
            problem: self.problem.lock().clone(),
            evicts: self.eviction_policy.lock().clone().map(String::from),
        }
    }
}
