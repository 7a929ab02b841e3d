//! Success and failure: reported to the breaker, the observer, the status and the discovery of the topology.

use std::fmt::Display;
use std::time::Instant;

use rate_limiter_distributed::breaker::{self, State};

use super::Driver;
use crate::context::{count, jitter};
use crate::observer::{BatchEvent, BreakerEvent, Change, ConnectionEvent};
use crate::server::batch::Batch;
use crate::server_kind::TopologyEvent;

impl Driver {
    pub(super) fn succeeded(&mut self) {
        self.breaker.succeed();
        if self.has_problem && self.breaker.state() == State::Closed {
            self.set_problem(None);
        }
    }

    pub(super) fn failed(&mut self, now: Instant, reason: &dyn Display) {
        let change = self.breaker.fail(now, jitter());
        if change.is_some() {
            let reason = reason.to_string();
            self.set_problem(Some(&reason));
            self.rediscover();
            self.breaker_changed(change, &reason);
        }
    }

    /// Counts calls that the server has answered.
    pub(super) fn count_answered(&mut self, calls: usize) {
        self.tally.calls += calls as u64;
    }

    /// Counts calls that it has not.
    pub(super) fn count_failed(&mut self, calls: usize, reason: &dyn Display) {
        if calls > 0 {
            self.tally.calls += calls as u64;
            self.tally.failures += calls as u64;
            self.status.set_failure(&reason.to_string());
        }
    }

    /// Counts calls that are dropped before they are sent. The reason was set when the breaker opened.
    pub(super) fn not_sent(&mut self, calls: usize) {
        count(&self.context.counts.unsent, calls);
        self.tally.calls += calls as u64;
        self.tally.failures += calls as u64;
    }

    pub(super) fn set_problem(&mut self, reason: Option<&str>) {
        self.has_problem = reason.is_some();
        if let Some(reason) = reason {
            self.status.set_failure(reason);
        }
        self.status.set_problem(reason.map(str::to_owned));
    }

    /// Acts on a change of the breaker, if there is one, and reports it.
    pub(super) fn breaker_changed(&mut self, change: breaker::Change, reason: &str) {
        let Some((from, to)) = change else { return };
        self.status.set_breaker(to);
        self.alarm = None;
        if to == State::Open {
            if from == State::Closed {
                count(&self.context.counts.opened, 1);
                self.status.count_opened();
            }
            self.shut_down();
        }
        self.context.observer.breaker(&BreakerEvent {
            server: &self.status.name,
            from,
            to,
            reason,
        });
    }

    /// Drops all connections and queued calls. Calls in flight keep waiting: their deadline is near.
    fn shut_down(&mut self) {
        for pooled in &mut self.pool {
            pooled.shut_down();
        }
        let queue = std::mem::take(&mut self.queue);
        let delayed = std::mem::take(&mut self.delayed);
        self.status.dequeue(queue.len());
        self.not_sent(queue.len() + delayed.len());
        // The breaker is not closed any more, so each call is dropped as it is received.
        self.receive_up_to(usize::MAX);
    }

    pub(super) fn report_batch(&self, batch: &Batch, now: Instant, failure: Option<&str>) {
        self.context.observer.batch(&BatchEvent {
            server: &self.status.name,
            calls: batch.calls,
            duration: now - batch.sent,
            failure,
        });
    }

    pub(super) fn report_connection(&self, change: Change<'_>) {
        self.context.observer.connection(&ConnectionEvent {
            server: &self.status.name,
            change,
        });
    }

    /// Requests a new discovery of the topology.
    pub(super) fn rediscover(&self) {
        self.kind.report(TopologyEvent::ServerFailed);
    }

    pub(super) fn publish_status(&mut self, now: Instant) {
        let up = self
            .pool
            .iter()
            .filter(|pooled| pooled.connection.is_some());
        let batches = self.pool.iter().flat_map(|pooled| &pooled.batches);
        let in_flight = batches.map(|batch| batch.unanswered).sum();
        self.status.set_connections(up.count(), in_flight);
        self.status.count(now, std::mem::take(&mut self.tally));
    }
}
