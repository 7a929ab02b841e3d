//! The state of a store, written by its thread and read by callers.

use std::sync::atomic::{AtomicU64, AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rate_limiter_distributed::BreakerState;

/// The state of a store, and what was done since the start.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the breaker admits.
    pub breaker: BreakerState,
    /// Workers that have joined.
    pub workers: usize,
    /// Calls that wait or are in flight.
    pub pending: usize,
    /// Why the latest call that failed had no answer. `None` once another one was answered.
    pub problem: Option<String>,
    /// Calls that the store has decided.
    pub calls: u64,
    /// Batches that it was given.
    pub batches: u64,
    /// Calls without an answer by their deadline.
    pub timeouts: u64,
    /// Calls that ended with an error of the store.
    pub refused: u64,
    /// Calls that were not accepted, because of the breaker or a full queue.
    pub unsent: u64,
    /// How often the breaker has opened.
    pub opened: u64,
}

/// All accesses are relaxed: each field is read by itself, and calls reach the thread through its queue.
pub(crate) struct Live {
    max_queue: usize,
    breaker: AtomicU8,
    pub(crate) workers: AtomicUsize,
    pending: AtomicUsize,
    problem: Mutex<Option<String>>,
    pub(crate) epoch: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unsent: AtomicU64,
    pub(crate) opened: AtomicU64,
}

impl Live {
    pub(crate) fn new(max_queue: usize) -> Self {
        Self {
            max_queue,
            breaker: AtomicU8::new(BreakerState::Closed as u8),
            workers: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            problem: Mutex::default(),
            epoch: AtomicU64::new(1),
            calls: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        }
    }

    /// Reserves a place for a call, unless too many wait.
    pub(crate) fn try_enqueue(&self) -> bool {
        // Added first and undone if it is too many, so that two callers cannot both take the last place.
        let placed = self.pending.fetch_add(1, Ordering::Relaxed) < self.max_queue;
        if !placed {
            self.dequeue(1);
        }
        placed
    }

    pub(crate) fn enqueue(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dequeue(&self, calls: usize) {
        self.pending.fetch_sub(calls, Ordering::Relaxed);
    }

    pub(crate) fn breaker(&self) -> BreakerState {
        match self.breaker.load(Ordering::Relaxed) {
            closed if closed == BreakerState::Closed as u8 => BreakerState::Closed,
            open if open == BreakerState::Open as u8 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    pub(crate) fn set_breaker(&self, state: BreakerState) {
        self.breaker.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn set_problem(&self, problem: Option<&str>) {
        let mut known = self.problem.lock();
        if known.as_deref() != problem {
            *known = problem.map(str::to_owned);
        }
    }

    pub(crate) fn status(&self) -> Status {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            breaker: self.breaker(),
            workers: self.workers.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            problem: self.problem.lock().clone(),
            calls: count(&self.calls),
            batches: count(&self.batches),
            timeouts: count(&self.timeouts),
            refused: count(&self.refused),
            unsent: count(&self.unsent),
            opened: count(&self.opened),
        }
    }
}
