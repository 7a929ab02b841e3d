//! Deadlines, delays and timeouts.

use std::pin::Pin;
use std::time::{Duration, Instant};

use rate_limiter_distributed::breaker::State;
use tokio::time::Sleep;

use super::{Driver, SILENCE_TIMEOUT};
use crate::context::count;
use crate::pending::Pending;
use crate::server::batch::Batch;
use crate::server::pooled_connection::PooledConnection;

impl Driver {
    /// Moves delayed calls that are due back to the front of the queue.
    pub(super) fn requeue_delayed(&mut self, now: Instant) {
        while let Some(at) = self.delayed.iter().position(|(due, _)| *due <= now) {
            let (_, pending) = self.delayed.swap_remove(at);
            self.status.enqueue(1);
            self.queue.push_front(pending);
        }
    }

    pub(super) fn alarm_fired(&mut self) {
        self.alarm = None;
        let now = Instant::now();
        self.receive_up_to(usize::MAX);
        let batches = self.pool.iter_mut().flat_map(|pooled| &mut pooled.batches);
        let expired = batches.map(|batch| batch.expire(now)).sum();
        self.timed_out(now, expired);
        self.expire_queued(now);
        self.drop_silent_connections(now);
    }

    /// Drops queued calls whose deadline has passed.
    pub(super) fn expire_queued(&mut self, now: Instant) {
        let mut expired = 0;
        let is_late = |pending: &Pending| pending.deadline <= now;
        while self.queue.front().is_some_and(is_late) {
            drop(self.queue.pop_front());
            expired += 1;
        }
        self.status.dequeue(expired);
        self.timed_out(now, expired);
    }

    fn timed_out(&mut self, now: Instant, calls: usize) {
        count(&self.context.counts.timeouts, calls);
        let timeout = self.context.timeout;
        self.status.failed.record(calls as u64, timeout);
        let reason = format_args!("no answer within {timeout:?}");
        self.count_failed(calls, &reason);
        for _ in 0..calls {
            self.failed(now, &reason);
        }
    }

    /// Drops connections that do not reply. A broken network path may never report an error.
    fn drop_silent_connections(&mut self, now: Instant) {
        let timeout = match self.breaker.state() {
            State::Closed => SILENCE_TIMEOUT,
            State::Open | State::HalfOpen => Duration::ZERO,
        };
        for at in 0..self.pool.len() {
            let is_silent =
                |batch: &mut Batch| batch.unanswered == 0 && batch.sent + timeout <= now;
            let silent: Vec<Batch> = self.pool[at].batches.extract_if(.., is_silent).collect();
            if silent.is_empty() {
                continue;
            }
            self.disconnect(at, "it does not answer");
            for batch in silent {
                self.report_batch(&batch, now, Some("timeout"));
            }
        }
    }

    /// Sets the timer for the next batch to a server that is far away, unless it is set. A timer that is set fires too
    /// early if further batches were sent meanwhile, which costs less than setting it for each.
    pub(super) fn set_pace(&mut self, now: Instant, timer: Pin<&mut Sleep>) {
        if self.is_paced {
            return;
        }
        let opens = self.pool.iter().filter_map(PooledConnection::opens_at);
        if let Some(due) = opens.filter(|opens| *opens > now).min() {
            timer.reset(due.into());
            self.is_paced = true;
        }
    }

    /// Sets the timer to the next deadline, delay or attempt to connect, unless it is set.
    pub(super) fn set_alarm(&mut self, now: Instant, timer: Pin<&mut Sleep>) {
        if self.alarm.is_some() {
            return;
        }
        let batches = self.pool.iter().flat_map(|pooled| &pooled.batches);
        let replies = batches.map(|batch| batch.deadline().unwrap_or(batch.sent + SILENCE_TIMEOUT));
        let retries = self.pool.iter().filter_map(|pooled| pooled.retry_at);
        let first = self.queue.front().map(|pending| pending.deadline);
        let delayed = self.delayed.iter().map(|(due, _)| *due);
        let due = replies
            .chain(retries)
            .chain(first)
            .chain(delayed)
            .chain(self.breaker.probe_at());
        // Never later than the deadline of a call submitted from now on, so that such a call need not set the timer.
        self.alarm = due.min().map(|due| due.min(now + self.context.timeout));
        if let Some(alarm) = self.alarm {
            timer.reset(alarm.into());
        }
    }
}
