//! The background report of keys that were used in an outage and are no longer asked about.
//!
//! A key's own next call reports its backlog. Other nodes need to know of the other keys, too; so while the authority
//! replies, each reply starts the report of the next few, and `sweep` starts it where no calls are made at all.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use rate_limiter_core::{Nanos, Select};

use crate::authority::Failure;
use crate::call::{Op, Reply};
use crate::fallback::Name;
use crate::request::{Limits, Request};

use super::in_flight::InFlight;
use super::inner::Inner;
use super::response::complete;
use super::SharedLimiter;

/// Keys in flight at once.
const BATCH: usize = 32;

/// Batches to look through, if the usage of all their keys has expired, before the caller's thread is given back.
const ROUNDS: usize = 8;

/// The pause after a failure.
const PAUSE: Nanos = Nanos(100_000_000);

impl SharedLimiter {
    /// Reports the next keys, unless some are in flight or have just failed.
    pub(super) fn reconcile(&self) {
        for _ in 0..ROUNDS {
            if !self.reconcile_batch() {
                return;
            }
        }
    }

    /// Returns whether all of the batch has ended, so that only the caller can start the next one.
    fn reconcile_batch(&self) -> bool {
        let inner = &self.0;
        if inner.fallback.backlog() == 0
            || inner.elapsed().0 < inner.reconcile_from.load(Ordering::Relaxed)
            || !inner.start_batch()
        {
            return false;
        }
        // Each key ends once, and the last one to end starts the next batch.
        let names = inner.fallback.next_in_backlog(BATCH);
        for _ in names.len()..BATCH {
            inner.reconciling.fetch_sub(1, Ordering::Relaxed);
        }
        let mut ended = false;
        for name in names {
            ended = self.reconcile_key(name);
        }
        ended
    }

    /// Reports the key's calls with names, before another call about the key is sent: with all windows of those calls, so
    /// that the authority knows each of them as one.
    pub(super) fn report_names(&self, request: &Request<'_>) {
        let inner = &self.0;
        if inner.fallback.has_names(request.key) {
            inner.reconciling.fetch_add(1, Ordering::Relaxed);
            if self.reconcile_key((request.key, Arc::clone(&request.name))) {
                self.reconcile();
            }
        }
    }

    /// Returns whether the key has ended already, and was the last one in flight.
    fn reconcile_key(&self, (key, name): Name) -> bool {
        let inner = &self.0;
        let plans = inner.plans.load();
        let plan = &plans.own;
        let request = Request {
            key,
            name,
            select: Select::All,
            limits: Limits::Own,
            op: Op::Peek,
            cost: 0,
            request_id: None,
            receipt: None,
        };
        let in_flight = inner.in_flight(plan, &request);
        let mut in_flight = in_flight.expect("a plan has all of its own windows");
        in_flight.reports_names = true;
        let in_flight = Arc::new(in_flight);
        let sent = inner.send(in_flight.call(plan, None), &in_flight, |call| {
            if !in_flight.has_backlog() {
                // The key's own call has reported it, or the usage has expired.
                return Ok(false);
            }
            let (limiter, in_flight) = (self.clone(), Arc::clone(&in_flight));
            let done = move |result| limiter.reconciled(&in_flight, result);
            inner.authority.send(call, Box::new(done)).map(|()| true)
        });
        match sent {
            Ok(true) => false,
            Ok(false) => self.end_key(),
            Err(failure) => {
                inner.retry_later(&in_flight, &failure);
                self.end_key()
            }
        }
    }

    fn reconciled(&self, in_flight: &InFlight, result: Result<Reply, Failure>) {
        match complete(in_flight, result) {
            Ok(reply) => self.0.adopt(in_flight, reply),
            Err(failure) => {
                self.0.take_back(in_flight);
                self.0.retry_later(in_flight, &failure);
            }
        }
        if self.end_key() {
            self.reconcile();
        }
    }

    /// Returns whether the key was the last one in flight.
    fn end_key(&self) -> bool {
        self.0.counters.pending.subtract();
        self.0.reconciling.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

impl Inner {
    fn retry_later(&self, in_flight: &InFlight, failure: &Failure) {
        // A key that another program uses would only fail again.
        if !matches!(failure, Failure::Foreign(_)) {
            self.fallback
                .return_to_backlog(in_flight.key, &in_flight.name);
        }
        let from = self.elapsed().saturating_add(PAUSE);
        self.reconcile_from.store(from.0, Ordering::Relaxed);
    }

    fn start_batch(&self) -> bool {
        self.reconciling
            .compare_exchange(0, BATCH, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}
